"""What a data set is to the rest of the system: images (or latents), and what each is conditioned on.

Shapes: N images, C channels, H height, W width, L tokens, D features of a token, P features of a pooled embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


CLASSES, TEXT, POOLED = "class_labels", "encoder_hidden_states", "pooled_projections"


@dataclass(frozen=True, kw_only=True)
class DataShape:
    """What a model must know of the data to be built: the size of x_0, and of what it is conditioned on."""

    image: tuple[int, int, int]  # C, H, W
    num_classes: int | None = None
    text: tuple[int, int] | None = None  # L, D of encoder_hidden_states
    pooled: int | None = None  # P of pooled_projections

    @property
    def num_elements(self) -> int:
        """H*W: the elements of one channel."""
        return self.image[1] * self.image[2]


@dataclass(frozen=True, eq=False, kw_only=True)
class Posterior:
    """What an autoencoder says of images beside the mean of their latents, in the scale that the diffusion model sees.

    log_variance: (N, C, H, W). mirrored: mean and log variance of the mirrored images, each (N, C, H, W); None where
    training mirrors nothing (mirroring the latents is something else).
    """

    log_variance: torch.Tensor
    mirrored: tuple[torch.Tensor, torch.Tensor] | None = None

    def of_training(
        self, means: torch.Tensor, indices: torch.Tensor, mirrored: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (B, C, H, W) of the images, or of the mirrored ones where `mirrored` (B,) says so."""
        mean, log_variance = means[indices].float(), self.log_variance[indices].float()
        if self.mirrored is not None and bool(mirrored.any()):
            for found, others in zip((mean, log_variance), self.mirrored, strict=True):
                found[mirrored] = others[indices[mirrored]].float()
        return mean, log_variance


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """images: (N, C, H, W), float32 in [-1, 1] or latents in the scale that the diffusion model sees, or uint8.

    conditions: by the keyword under which models take them, (N, ...): class_labels int64 (N,), encoder_hidden_states
    (N, L, D), pooled_projections (N, P). null: the condition that stands for none, each without N. extra_conditions
    (M, ...): more of them, without images. evaluation_conditions (E, ...): those that samples are drawn for; none: the
    images'. Tensors may be memory-mapped: only what `x_0` and `condition` ask for is read.
    """

    images: torch.Tensor
    conditions: Mapping[str, torch.Tensor] = field(default_factory=dict)
    null: Mapping[str, torch.Tensor] = field(default_factory=dict)
    num_classes: int | None = None
    extra_conditions: Mapping[str, torch.Tensor] = field(default_factory=dict)  # without images, (M, ...)
    evaluation_conditions: Mapping[str, torch.Tensor] = field(
        default_factory=dict
    )  # what samples are drawn for (E, ...)
    flip: bool = False  # half of the images that training sees are mirrored
    posterior: Posterior | None = None  # of latents; then `images` are the means
    decoder: Callable[[torch.Tensor], torch.Tensor] | None = None  # latents -> images in [-1, 1], both (B, C, H, W)
    references: Dataset | None = None  # the images that latents were made of; FID is measured against them

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> DataShape:
        channels, height, width = self.images.shape[1:]
        text, pooled = self.conditions.get(TEXT), self.conditions.get(POOLED)
        return DataShape(
            image=(channels, height, width),
            num_classes=self.num_classes,
            text=None if text is None else (text.shape[1], text.shape[2]),
            pooled=None if pooled is None else pooled.shape[1],
        )

    def x_0(self, indices: torch.Tensor) -> torch.Tensor:
        """Clean images (len(indices), C, H, W), float32."""
        import torch

        found = self.images[indices]
        return to_float(found) if found.dtype == torch.uint8 else found.to(torch.float32)

    @property
    def is_sampled(self) -> bool:
        """Whether training draws the latents of an image anew at every visit."""
        return self.posterior is not None

    def training_x_0(
        self, indices: torch.Tensor, mirrored: torch.Tensor, spread: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As training sees the images: (B, C, H, W), those of `mirrored` (B,) mirrored; latents are their means plus
        `spread` standard deviations, (B, C, H, W) of a normal distribution.
        """
        import torch

        if self.posterior is None:
            x_0 = self.x_0(indices)
            return torch.where(mirrored.view(-1, 1, 1, 1), x_0.flip(-1), x_0)
        mean, log_variance = self.posterior.of_training(self.images, indices, mirrored)
        assert spread is not None
        return mean + (0.5 * log_variance).exp() * spread

    def decoded(self, x_0: torch.Tensor) -> torch.Tensor:
        """Images (B, C', H', W') in [-1, 1] of what a model sampled: itself, or what the latents decode to."""
        return x_0 if self.decoder is None else self.decoder(x_0)

    def reference(self, indices: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
        """Images in [-1, 1] that those of a model are measured against; latents are decoded on `device`."""
        if self.references is not None:
            return self.references.x_0(indices)
        return self.x_0(indices) if self.decoder is None else self.decoder(self.x_0(indices).to(device))

    def condition(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the images of the indices are conditioned on; the extra conditions follow those of the images.

        What extra conditions do not say is the null.
        """
        extra = indices >= len(self)
        if not extra.any():
            return {name: values[indices] for name, values in self.conditions.items()}
        found = {}
        for name, values in self.conditions.items():
            of_images = values[indices[~extra]]
            found[name] = self.null[name].to(of_images).repeat(len(indices), *[1] * (of_images.ndim - 1))
            found[name][~extra] = of_images
            if name in self.extra_conditions:
                found[name][extra] = self.extra_conditions[name][indices[extra] - len(self)]
        return found

    @property
    def num_conditions(self) -> int:
        """Of the images and without images."""
        return len(self) + min((len(values) for values in self.extra_conditions.values()), default=0)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """0..255 to float32 in [-1, 1] of the same shape."""
    import torch

    return images.to(torch.float32) / 127.5 - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] to 0..255 of the same shape, rounded; what lies outside is clipped."""
    import torch

    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

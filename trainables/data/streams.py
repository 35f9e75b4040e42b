"""The seed streams that batches come from.

Shapes: B global batch, b one rank's share of it, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from trainables.data.dataset import Dataset
from trainables.process import TIMESTEPS, Process
from trainables.ranks import Ranks
from trainables.seeds import derived_generator


@dataclass(frozen=True)
class Batch:
    """One rank's share of a batch: clean images x_0, noised x_t, and what training asks of a model, all (b, C, H, W);
    timesteps t (b,); condition: by the keyword under which a model takes it, (b, ...). matching (b,): which of the
    images have a condition of their own; None: all.
    """

    x_0: torch.Tensor | None  # None, like the target, where there is no data to begin from
    x_t: torch.Tensor
    t: torch.Tensor
    target: torch.Tensor | None
    condition: Mapping[str, torch.Tensor] = field(default_factory=dict)
    matching: torch.Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Batch":
        """On the device; what is not whole numbers in the type. A pinned batch is copied while Python goes ahead."""
        return self.mapped(
            lambda values: values.to(device, dtype if values.is_floating_point() else None, non_blocking=True)
        )

    def pinned(self) -> "Batch":
        """In memory that a GPU reads by itself."""
        return self.mapped(torch.Tensor.pin_memory)

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """With every tensor changed."""
        return replace(
            self,
            x_0=None if self.x_0 is None else change(self.x_0),
            x_t=change(self.x_t),
            t=change(self.t),
            target=None if self.target is None else change(self.target),
            condition={name: change(value) for name, value in self.condition.items()},
            matching=None if self.matching is None else change(self.matching),
        )


class Stream(Protocol):
    """The batches of one seed, and the state that they follow from."""

    seed: int

    def batch(self, step: int) -> Batch: ...

    def took(self, batch: Batch, prediction: torch.Tensor, step: int) -> None:
        """Is told what the teacher said of the batch of a step, (b, C, H, W) or, with a variance, (b, 2C, H, W)."""

    def tensors(self) -> dict[str, torch.Tensor]: ...

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None: ...


class SeedStream:
    """The images, noise and timesteps of one seed: what every member of that seed sees (common random numbers).

    The batch of a step follows from (seed, step) alone, so it depends neither on what ran before nor on the number of
    ranks: every rank draws the global batch and keeps its share. Raises ValueError when it cannot be shared equally.
    condition_dropout: the part of the images whose condition becomes the data's null, for classifier-free guidance (Ho
    and Salimans 2022); teacher and student see the same. random_conditioning: a condition is replaced with probability
    exp(-5 (1 - t/T)), by one of any image or of the data's extra conditions: the noisier an image, the less it says of
    its condition (Kim et al. 2025).
    """

    def __init__(
        self,
        data: Dataset,
        process: Process,
        *,
        seed: int,
        batch_size: int,
        timesteps: str,
        ranks: Ranks,
        condition_dropout: float = 0.0,
        random_conditioning: bool = False,
    ) -> None:
        if batch_size % ranks.world_size:  # shares of unequal size would not count equally in the mean over ranks
            raise ValueError(
                f"train.batch_size must be a multiple of the {ranks.world_size} workers that share it"
                f" but got {batch_size}"
            )
        self._data, self._process = data, process
        self.seed, self._batch_size, self._ranks = seed, batch_size, ranks
        self._timesteps = TIMESTEPS[timesteps]
        self._condition_dropout, self._random_conditioning = condition_dropout, random_conditioning
        self._orders: dict[int, torch.Tensor] = {}

    def batch(self, step: int) -> Batch:
        """This rank's share of the batch of a step, on the CPU."""
        indices, share = self._indices(step), slice(self._ranks.rank, None, self._ranks.world_size)
        noise = self._drawn(step, "noise", lambda g: torch.randn((len(indices), *self._data.shape.image), generator=g))
        t = self._drawn(step, "timesteps", lambda g: self._timesteps(len(indices), self._process.num_timesteps, g))
        x_0 = self._x_0(indices, step, share)
        condition, matching = self._condition(indices, t, step, share)
        noise, t = noise[share], t[share]
        x_t, target = self._process.noised(x_0, noise, t), self._process.target(x_0, noise, t)
        return Batch(x_0, x_t, t, target, condition, matching)

    def took(self, batch: Batch, prediction: torch.Tensor, step: int) -> None:
        """What the teacher says changes nothing here."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """It has no state."""
        return {}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None: ...

    def _drawn(self, step: int, what: str, draw: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
        return draw(derived_generator(self.seed, what, step))

    def _x_0(self, indices: torch.Tensor, step: int, share: slice) -> torch.Tensor:
        """This rank's clean images: half of them mirrored where the recipe flips; latents drawn from the posterior."""
        mirrored = torch.zeros(len(indices), dtype=torch.bool)
        if self._data.flip:
            mirrored = self._drawn(step, "flip", lambda g: torch.rand(len(indices), generator=g) < 0.5)
        spread = None
        if self._data.is_sampled:
            image = self._data.shape.image
            spread = self._drawn(step, "posterior", lambda g: torch.randn((len(indices), *image), generator=g))[share]
        return self._data.training_x_0(indices[share], mirrored[share], spread)

    def _condition(
        self, indices: torch.Tensor, t: torch.Tensor, step: int, share: slice
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """What this rank's images are conditioned on, and which of them on their own."""
        if not self._data.conditions:
            return {}, None
        matching = None
        if self._random_conditioning:
            indices, replaced = self._replaced(indices, t, step)
            matching = ~replaced[share]
        condition = self._data.condition(indices[share])
        if self._condition_dropout > 0:
            rate = self._condition_dropout
            dropped = self._drawn(step, "condition dropout", lambda g: torch.rand(self._batch_size, generator=g) < rate)
            condition = {
                name: torch.where(dropped[share].view(-1, *[1] * (value.ndim - 1)), self._data.null[name], value)
                for name, value in condition.items()
            }
        return condition, matching

    def _replaced(self, indices: torch.Tensor, t: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Whose conditions (B,) the images get, and which (B,) were replaced."""
        rate = replacement_rate(t, self._process.num_timesteps)
        replaced = self._drawn(step, "replaced", lambda g: torch.rand(len(indices), generator=g)) < rate
        num = self._data.num_conditions
        others = self._drawn(step, "conditions", lambda g: torch.randint(num, indices.shape, generator=g))
        return torch.where(replaced, others, indices), replaced

    def _indices(self, step: int) -> torch.Tensor:
        """Which images (B,) the step sees: the next of an endless row of permutations, one for each epoch."""
        num_images = len(self._data)
        positions = torch.arange(step * self._batch_size, (step + 1) * self._batch_size)
        epochs = positions // num_images
        wanted = range(int(epochs[0]), int(epochs[-1]) + 1)
        self._orders = {epoch: self._orders[epoch] if epoch in self._orders else self._order(epoch) for epoch in wanted}
        orders = torch.cat([self._orders[epoch] for epoch in wanted])
        return orders[positions - wanted[0] * num_images]

    def _order(self, epoch: int) -> torch.Tensor:
        return torch.randperm(len(self._data), generator=derived_generator(self.seed, "order", epoch))


def replacement_rate(t: torch.Tensor, num_timesteps: int) -> torch.Tensor:
    """p(t) = exp(-5 (1 - t/T)) of timesteps (B,): about 0.2 on average (random conditioning, Kim et al. 2025)."""
    return torch.exp(-5 * (1 - t / num_timesteps))

"""Noise as data, for trying out models whose conditions no embedded data has."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from trainables.checks import require_whole
from trainables.data.dataset import CLASSES, POOLED, TEXT, Dataset

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Generated:
    """num_images of uniform noise in [-1, 1], each with the class, text and pooled text of noise that are asked for.

    text: tokens and features of a token. The null condition is zero, or the class after the last. extra_prompts,
    evaluation_prompts: how many texts more without images, for random conditioning and for what is sampled.
    """

    name: str
    size: int
    channels: int = 3
    num_images: int = 64
    num_classes: int | None = None
    text: tuple[int, int] | None = None
    pooled: int | None = None
    extra_prompts: int | None = None
    evaluation_prompts: int | None = None

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            if key == "text" and value is not None:
                if not isinstance(value, list | tuple) or len(value) != 2:
                    raise ValueError(f"data.text must be null or two whole numbers but got {value!r}")
                object.__setattr__(self, "text", tuple(value))  # lists cannot be hashed
                for number in value:
                    require_whole("data.text", number, 1, 10**5)
            elif key != "name" and value is not None:
                require_whole(f"data.{key}", value, 1, 10**5)

    def identity(self) -> Any:
        return {"source": "generated", **asdict(self)}

    def load(self) -> Dataset:
        import torch

        draw = torch.Generator().manual_seed(0)
        images = torch.rand((self.num_images, self.channels, self.size, self.size), generator=draw) * 2 - 1
        conditions, null = {}, {}
        if self.num_classes is not None:
            conditions[CLASSES] = torch.randint(self.num_classes, (self.num_images,), generator=draw)
            null[CLASSES] = torch.tensor(self.num_classes)
        for name, shape in ((TEXT, self.text), (POOLED, self.pooled and (self.pooled,))):
            if shape:
                conditions[name], null[name] = (
                    torch.randn((self.num_images, *shape), generator=draw),
                    torch.zeros(shape),
                )
        return Dataset(
            images=images,
            conditions=conditions,
            null=null,
            num_classes=self.num_classes,
            extra_conditions=self._prompts(self.extra_prompts, draw),
            evaluation_conditions=self._prompts(self.evaluation_prompts, draw),
        )

    def _prompts(self, num: int | None, draw: torch.Generator) -> dict[str, torch.Tensor]:
        import torch

        shapes = {TEXT: self.text, POOLED: self.pooled and (self.pooled,)}
        return {name: torch.randn((num, *shape), generator=draw) for name, shape in shapes.items() if num and shape}

"""Real RGB images without a download: pieces of the two photographs that scikit-learn ships."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from trainables.checks import require_whole
from trainables.data.dataset import Dataset

SHRINK = 2  # the photographs are halved, so that a piece shows more than a texture
PIECES_A_SIDE = 8  # a piece begins every eighth of its side


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """Square pieces of a temple and of a flower: uint8 (N, 3, size, size), N = 6,716 at 32x32.

    They overlap, so there is less to learn from than their number says.
    """

    name: str = "photographs"
    size: int = 32

    def __post_init__(self) -> None:
        require_whole("data.size", self.size, 8, 128)

    def identity(self) -> Any:
        """By the decoded pixels: another JPEG decoder may round otherwise."""
        return {"source": "photographs", "size": self.size, "sha256": _digest()}

    def load(self) -> Dataset:
        import torch

        step = max(1, self.size // PIECES_A_SIDE)
        found = []
        for photograph in _photographs():
            x_3HW = torch.from_numpy(photograph).permute(2, 0, 1)
            pieces = x_3HW.unfold(1, self.size, step).unfold(2, self.size, step)  # (3, rows, columns, size, size)
            found.append(pieces.permute(1, 2, 0, 3, 4).reshape(-1, 3, self.size, self.size))
        return Dataset(images=torch.cat(found))


@cache
def _photographs() -> list[np.ndarray]:
    """uint8 (213, 320, 3) each."""
    from PIL import Image
    from sklearn.datasets import load_sample_images  # takes a second to import

    return [np.array(Image.fromarray(image).reduce(SHRINK))[:213, :320] for image in load_sample_images().images]


@cache
def _digest() -> str:
    return hashlib.sha256(b"".join(image.tobytes() for image in _photographs())).hexdigest()

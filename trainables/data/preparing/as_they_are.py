"""Images that are decoded whenever a batch asks for them: for folders that are too large to be kept prepared.

What they are must be known before training begins (every member's identity names it), so all are decoded once on every
machine, without being kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from storage import locked, new_file, read_sealed, sealed
from trainables.data.preparing.decode import Undecoded

if TYPE_CHECKING:
    import torch


_FACTS = "images as they are"


class AsTheyAre:
    """Like a tensor uint8 (N, C, H, W), as far as Dataset asks: its shape, its type, and the images of indices."""

    def __init__(self, source: Undecoded, num_channels: int) -> None:
        import torch

        self._source = source
        self.shape = torch.Size((len(source), num_channels, source.size, source.size))
        self.dtype = torch.uint8

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """uint8 (len(indices), C, H, W)."""
        import torch

        found = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for place, pixels in zip(found, self._source.some(indices.tolist()), strict=True):
            place[:] = pixels  # a grey image among images of colour has its grey in every channel
        return torch.from_numpy(found)


def read_as_they_are(path: Path, source: Undecoded) -> tuple[AsTheyAre, str]:
    """The images, and the digest of their pixels, which the file keeps: that of the same images prepared."""
    with locked(path):
        try:
            facts = read_sealed(_FACTS, path)
        except (OSError, ValueError):
            num_channels, digest = _digest(source.all())
            facts = {"num_channels": num_channels, "digest": digest}
            with new_file(path) as file:
                file.write(sealed(_FACTS, facts))
    return AsTheyAre(source, facts["num_channels"]), facts["digest"]


def _digest(images: Iterable[np.ndarray]) -> tuple[int, str]:
    """Channels of all, and sha256 of the pixels, with grey images in every channel where any image has colour."""
    grey, colour, num_channels = hashlib.sha256(), hashlib.sha256(), 1
    for pixels in images:
        num_channels = max(num_channels, len(pixels))
        if num_channels == 1:
            grey.update(pixels.tobytes())
        colour.update(np.broadcast_to(pixels, (3, *pixels.shape[1:])).tobytes())
    return num_channels, (grey if num_channels == 1 else colour).hexdigest()

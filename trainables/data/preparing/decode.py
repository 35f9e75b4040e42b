"""Images decoded by several processes, in order, under a progress bar.

Shapes: C channels, 1 of a grey image and 3 of one of colour; H = W = size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

FEW = 2048  # so many are decoded in this process: it takes others seconds to begin
_CHUNK_BYTES, _CHUNK_IMAGES = 2**21, 64  # what a process decodes before it hands it over
_READERS = 4  # processes of a worker that decode its batches; a machine has several workers


@dataclass(frozen=True)
class Undecoded:
    """Images as their files have them.

    items: what `decode` makes each of. decode: -> an image, L or RGB, size x size, and whether its file has several
    frames; it is sent to other processes. remark: what there is to say when all are decoded; empty: nothing.
    """

    items: Sequence[Any]
    decode: Callable[[Any], tuple[Image.Image, bool]]
    size: int
    num_channels: int = 3  # the most that an image has
    remark: str = ""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_bytes(self) -> int:
        """The most that they take as uint8."""
        return len(self) * self.num_channels * self.size**2

    @property
    def _are_few(self) -> bool:
        return len(self) <= FEW

    def all(self, start: int = 0) -> Iterator[np.ndarray]:
        """Those from `start` on, each uint8 (C, H, W). Raises ValueError for the first that cannot be decoded."""
        num_several = 0
        with _bar(len(self), start, hidden=self._are_few) as bar:
            for pixels, has_others in self._decoded(range(start, len(self)), 1 if self._are_few else -1):
                num_several += has_others
                yield pixels
                bar.update()
        several = f"data.path: of {num_several} files with several frames the first is taken" if num_several else ""
        for line in filter(None, (self.remark, several)):
            print(line, file=sys.stderr)

    def some(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Those of the indices, each uint8 (C, H, W)."""
        return [pixels for pixels, _ in self._decoded(indices, 1 if self._are_few else _READERS)]

    def _decoded(self, indices: Sequence[int], num_processes: int) -> Iterator[tuple[np.ndarray, bool]]:
        """num_processes: -1: as many as this process may use CPUs."""
        size = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (self.num_channels * self.size**2)))
        size = min(size, -(-len(indices) // max(1, num_processes)) or 1)
        chunks = ([self.items[i] for i in indices[at : at + size]] for at in range(0, len(indices), size))
        work = (delayed(_decode)(self.decode, chunk) for chunk in chunks)
        return chain.from_iterable(Parallel(n_jobs=num_processes, return_as="generator", max_nbytes=None)(work))


def _decode(decode: Callable[[Any], tuple[Image.Image, bool]], items: Sequence[Any]) -> list[tuple[np.ndarray, bool]]:
    found = []
    for item in items:
        image, has_others = decode(item)
        found.append((np.ascontiguousarray(np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)), has_others))
    return found


def _bar(total: int, start: int, *, hidden: bool) -> tqdm:
    """In a file a line every half minute."""
    seconds = 0.5 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, initial=start, desc="images", unit="image", mininterval=seconds, disable=hidden)

"""Images of any kind -> one uint8 array on disk, made once on a node and memory-mapped by all of its processes.

<cache>/<key>/images.npy    (N, C, size, size); C is 1 where all images are grey
              facts.json    the digest of the pixels and what the file was like when it was sealed, itself sealed
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from storage import free_bytes, made_once, new_folder, own_folder
from trainables.checks import require_text

if TYPE_CHECKING:
    import torch

_IMAGES, _FACTS = "images.npy", "facts.json"
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Prepared:
    """images: uint8 (N, C, size, size), memory-mapped. digest: sha256 of their bytes."""

    images: torch.Tensor
    digest: str


def prepared(
    key: str, cache: str | None, num_images: int, size: int, images: Callable[[], Iterable[Image.Image]]
) -> Prepared:
    """The prepared images; images() is called where they are not there, or not what was sealed.

    key: a name that follows from the files and how they are prepared. cache: the folder, by default one of this user in
    the system's temporary folder. images(): L or RGB, size x size. Raises ValueError where there is no room for them.
    """
    try:
        folder = (Path(require_text("data.cache", cache, "null or a path")) if cache else own_folder()) / key
        with made_once(folder) as missing:
            if missing:
                _prepare(folder, num_images, size, images())
        found = _open(folder, num_images, size)
        if found is None:
            with made_once(folder.with_name(f".{key}.damaged")):  # one process at a time; that name is never made
                found = _open(folder, num_images, size) or _prepared_again(folder, num_images, size, images)
    except OSError as error:
        place = cache or own_folder()
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # in words of its own: it is not the study's disk
        why = f"it has no room for {num_images} images" if is_full else error.strerror
        raise ValueError(f"data.cache: {place} cannot be written: {why}{_room(place)}") from error
    return found


def _prepared_again(folder: Path, num_images: int, size: int, images: Callable[[], Iterable[Image.Image]]) -> Prepared:
    print(f"damaged, prepared again: {folder}", file=sys.stderr)
    shutil.rmtree(folder)
    _prepare(folder, num_images, size, images())
    found = _open(folder, num_images, size)
    assert found is not None
    return found


def _prepare(folder: Path, num_images: int, size: int, images: Iterable[Image.Image]) -> None:
    with new_folder(folder) as temporary:
        path = temporary / _IMAGES
        array = _Array(path, num_images, size)
        try:
            for image in images:
                array.append(image)
        finally:
            array.file.close()
        facts = {"sha256": _digest(_mapped(path)), "file": _stat(path)}
        (temporary / _FACTS).write_text(json.dumps({**facts, "seal": _seal(facts)}))


class _Array:
    """images.npy as it is written: its space is reserved first, and it is grey until the first image of colour."""

    def __init__(self, path: Path, num_images: int, size: int) -> None:
        self.file: BinaryIO = path.open("wb+")
        self._path, self._num_images, self._size = path, num_images, size
        self._channels = self._num = self._start = 0

    def append(self, image: Image.Image) -> None:
        channels = len(image.getbands())
        if channels > self._channels:
            self._widen(channels)
        pixels = np.asarray(image if channels == self._channels else image.convert("RGB"))
        self.file.write(np.atleast_3d(pixels).transpose(2, 0, 1).tobytes())
        self._num += 1

    def _widen(self, channels: int) -> None:
        """Begins again with more channels, and with what is there in each of them."""
        old, start, each = self.file, self._start, self._channels * self._size**2
        with old:
            self._path.unlink()
            self.file, self._channels = self._path.open("wb+"), channels
            shape = (self._num_images, channels, self._size, self._size)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self.file, header)
            self._start = self.file.tell()
            os.posix_fallocate(self.file.fileno(), 0, self._start + self._num_images * channels * self._size**2)
            old.seek(start)
            for _ in range(self._num):
                self.file.write(old.read(each) * channels)


def _open(folder: Path, num_images: int, size: int) -> Prepared | None:
    """What was sealed, or None. The pixels are looked at again only where the file was touched since."""
    import torch

    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_bytes())
        if facts.pop("seal") != _seal(facts):
            return None
        array = _mapped(folder / _IMAGES)
        if facts["file"] != _stat(folder / _IMAGES) and facts["sha256"] != _digest(array):
            return None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, AttributeError, TypeError):
        return None
    if array.dtype != np.uint8 or (len(array), *array.shape[2:]) != (num_images, size, size):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        return Prepared(torch.from_numpy(array), facts["sha256"])


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _digest(array: Any) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(array), _ROWS_AT_ONCE):
        digest.update(array[start : start + _ROWS_AT_ONCE].tobytes())
    return digest.hexdigest()


def _stat(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _seal(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _room(place: str | Path) -> str:
    """How much there is, where that can be said."""
    try:
        return f" ({free_bytes(Path(place)) / 1e6:.0f} MB free; let data.cache name a folder with more)"
    except OSError:
        return ""

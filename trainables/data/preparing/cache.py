"""Images of any kind -> one uint8 array on disk, made once on a node and memory-mapped by all of its processes.

<cache>/<key>/images.npy    (N, C, size, size); C is 1 where all images are grey
              facts.json    the digest of the pixels and what the file was like when it was sealed, itself sealed
       .<key>.begun/        the same while they are prepared, with how many are there; taken up where it was left
       <key>.json           where they are read as they are: the digest of their pixels
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from storage import free_bytes, made_once, new_file, new_folder, own_folder, read_sealed, sealed
from trainables.checks import require_text
from trainables.data.preparing.as_they_are import read_as_they_are
from trainables.data.preparing.decode import Undecoded

if TYPE_CHECKING:
    import torch

_IMAGES, _FACTS, _PROGRESS = "images.npy", "facts.json", "progress.json"
_ROWS_AT_ONCE = 1024
_KEPT_EVERY = 4096  # images between two points at which preparing can be taken up


@dataclass(frozen=True)
class Prepared:
    """images: uint8 (N, C, size, size), memory-mapped, or what reads them as they are. digest: sha256 of the bytes."""

    images: torch.Tensor
    digest: str


def prepared(key: str, cache: str | None, source: Undecoded, *, prepare: bool | None) -> Prepared:
    """The images of the source, from the cache; decoded into it where they are not there, or not what was sealed.

    key: a name that follows from the files and how they are prepared. cache: the folder, by default one of this user in
    the system's temporary folder. prepare: null: where there is room for them, else they are read as they are.
    Raises ValueError where the cache cannot be written.
    """
    try:
        folder = (Path(require_text("data.cache", cache, "null or a path")) if cache else own_folder()) / key
        if prepare is False or (prepare is None and not _has_room(folder, source)):
            images, digest = read_as_they_are(folder.with_suffix(".json"), source)
            return Prepared(cast("torch.Tensor", images), digest)  # as far as Dataset asks
        with made_once(folder) as missing:
            if missing:
                _prepare(folder, source)
        found = _open(folder, source)
        if found is None:
            with made_once(folder.with_name(f".{key}.damaged")):  # one process at a time; that name is never made
                found = _open(folder, source) or _prepared_again(folder, source)
    except OSError as error:
        place = cache or own_folder()
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # in words of its own: it is not the study's disk
        why = f"it has no room for {len(source)} images" if is_full else error.strerror
        raise ValueError(f"data.cache: {place} cannot be written: {why}{_room(place)}") from error
    return found


def _has_room(folder: Path, source: Undecoded) -> bool:
    """Whether the prepared images are there, or their space is reserved, or there is space for them."""
    if folder.exists() or _begun(folder).exists():
        return True
    folder.parent.mkdir(parents=True, exist_ok=True)
    return source.num_bytes <= free_bytes(folder.parent)


def _begun(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.begun")


def _prepared_again(folder: Path, source: Undecoded) -> Prepared:
    print(f"damaged, prepared again: {folder}", file=sys.stderr)
    shutil.rmtree(folder)
    _prepare(folder, source)
    found = _open(folder, source)
    assert found is not None
    return found


def _prepare(folder: Path, source: Undecoded) -> None:
    """What a process that is stopped leaves is taken up by the next; what fails leaves nothing."""
    begun = _begun(folder)
    begun.mkdir(parents=True, exist_ok=True)
    try:
        array = _Array(begun, len(source), source.size)
        try:
            for pixels in source.all(array.num):
                array.append(pixels)
        finally:
            array.file.close()
        digest = _digest(_mapped(begun / _IMAGES))
        with new_folder(folder) as temporary:
            (begun / _IMAGES).rename(temporary / _IMAGES)
            facts = {"digest": digest, "file": _stat(temporary / _IMAGES)}
            (temporary / _FACTS).write_bytes(sealed(_FACTS, facts))
    except Exception:
        shutil.rmtree(begun)
        raise
    shutil.rmtree(begun)


class _Array:
    """images.npy as it is written: its space is reserved first, and it is grey until the first image of colour.

    num: how many are there; one that was begun goes on where its progress was kept last.
    """

    def __init__(self, folder: Path, num_images: int, size: int) -> None:
        self._path, self._progress = folder / _IMAGES, folder / _PROGRESS
        self._num_images, self._size = num_images, size
        self._channels = self.num = self._start = 0
        self.file: BinaryIO
        if not self._taken_up():
            self.file = self._path.open("wb+")

    def append(self, pixels: np.ndarray) -> None:
        """pixels: uint8 (C, size, size)."""
        if len(pixels) > self._channels:
            self._widen(len(pixels))
        self.file.write(np.broadcast_to(pixels, (self._channels, *pixels.shape[1:])).tobytes())
        self.num += 1
        if self.num % _KEPT_EVERY == 0:
            self._keep()

    def _keep(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        with new_file(self._progress) as file:
            file.write(sealed(_PROGRESS, {"num": self.num, "channels": self._channels}))

    def _taken_up(self) -> bool:
        try:
            facts = read_sealed(_PROGRESS, self._progress)
            shape = (self._num_images, facts["channels"], self._size, self._size)
            array = _mapped(self._path)
            if array.shape != shape:  # it was widened since
                return False
        except (OSError, ValueError):
            return False
        self.num, self._channels, self._start = facts["num"], facts["channels"], array.offset
        self.file = self._path.open("rb+")
        self.file.seek(self._start + self.num * self._channels * self._size**2)
        return True

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
            for _ in range(self.num):
                self.file.write(old.read(each) * channels)


def _open(folder: Path, source: Undecoded) -> Prepared | None:
    """What was sealed, or None. The pixels are looked at again only where the file was touched since."""
    import torch

    try:
        facts = read_sealed(_FACTS, folder / _FACTS)
        array = _mapped(folder / _IMAGES)
        if facts["file"] != _stat(folder / _IMAGES) and facts["digest"] != _digest(array):
            return None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return None
    if array.dtype != np.uint8 or (len(array), *array.shape[2:]) != (len(source), source.size, source.size):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        return Prepared(torch.from_numpy(array), facts["digest"])


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


def _room(place: str | Path) -> str:
    """How much there is, where that can be said."""
    try:
        return f" ({free_bytes(Path(place)) / 1e6:.0f} MB free; let data.cache name a folder with more)"
    except OSError:
        return ""

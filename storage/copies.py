"""Files of an object store on the local disk, for libraries that read and write there; local ones are used in place."""

import fcntl
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from storage.atomic import new_folder, upload
from storage.paths import filesystem, is_local, name_in_store


def source(path: Path) -> Path | BinaryIO:
    """The file as what PIL, numpy, zipfile and pyarrow read: its path, or its content where it is not local."""
    return path if is_local(path) else io.BytesIO(path.read_bytes())


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """The file or folder on the local disk until the block ends."""
    if is_local(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _download(path, Path(folder))


def cached(path: Path) -> Path:
    """The file or folder on the local disk for good: what is used often is fetched once by all processes of a machine.

    Another copy is made when it has changed in the store.
    """
    if is_local(path):
        return path
    infos = filesystem(path).find(name_in_store(path), detail=True)
    if not infos:
        raise FileNotFoundError(path)
    state = sorted(str(sorted(info.items(), key=str)) for info in infos.values())
    key = hashlib.sha256("\n".join([str(path), *state]).encode()).hexdigest()[:32]
    copy = own_folder() / "copies" / key
    with made_once(copy) as missing:
        if missing:
            with new_folder(copy, path.name) as folder:
                _download(path, folder)
    return copy / path.name


@contextmanager
def made_once(local: Path) -> Iterator[bool]:
    """Whether a local file or folder is still to be made; the user's other processes here wait until it is."""
    if local.exists():
        yield False
        return
    with locked(local):
        yield not local.exists()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One of the user's processes here at a time, by a name that need not be there."""
    locks = own_folder() / "locks"
    locks.mkdir(exist_ok=True)
    with (locks / hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given up with the process, however that ends
        yield


@contextmanager
def filled_folder(path: Path, last: str) -> Iterator[Path]:
    """A local folder to write files into: `path` itself, or one that is uploaded to it at the end, `last` at last."""
    if is_local(path):
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        upload(Path(folder), path, last=last)


def own_folder() -> Path:
    """A folder for copies on this machine. Only this user may write there, so that every copy is one of ours."""
    folder = Path(tempfile.gettempdir(), f"kd-stability-study-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ValueError(f"{folder} belongs to another user: let TMPDIR name a folder of your own")
    return folder


def _download(path: Path, folder: Path) -> Path:
    """Puts a file, or the files of a folder, under folder/<its name>."""
    store, start, copy = filesystem(path), name_in_store(path), folder / path.name
    for name in store.find(start):
        target = copy if name == start else copy / name.removeprefix(f"{start}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(store.cat_file(name))
    return copy

"""What else is done to files and folders, where a file system and an object store differ."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from storage.location import filesystem, is_local, name_in_store


def made_folders(path: Path) -> list[Path]:
    """Makes a folder and returns those that were not there, deepest first; an object store needs none."""
    if not is_local(path):
        return []
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return made


def create(path: Path, content: bytes) -> None:
    """Makes a small file whose name nobody else uses, and leaves none where it cannot be written."""
    if not is_local(path):
        filesystem(path).pipe_file(name_in_store(path), content)
        return
    try:
        with path.open("xb") as file:
            _write(file.fileno(), content)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def overwrite(path: Path, content: bytes) -> None:
    """Writes over a small file of the same length in place. Raises FileNotFoundError where it is not there.

    On a file system it never comes to be again when somebody removes it meanwhile; in an object store it may.
    """
    if is_local(path):
        handle = os.open(path, os.O_WRONLY)
        try:
            _write(handle, content)
        finally:
            os.close(handle)
    elif path.exists():
        filesystem(path).pipe_file(name_in_store(path), content)
    else:
        raise FileNotFoundError(path)


def move(path: Path, target: Path) -> None:
    """Moves a file or folder to where nothing is. Raises FileNotFoundError where it is not there."""
    if is_local(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return
    store, start = filesystem(path), name_in_store(path)
    found = store.find(start)
    if not found:
        raise FileNotFoundError(path)
    for name in found:
        store.cp_file(name, name_in_store(target) + name.removeprefix(start))
    store.rm(found)


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it, as far as it goes."""
    if is_local(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        store = filesystem(path)
        if found := store.find(name_in_store(path)):
            store.rm(found)


def free_bytes(path: Path) -> float:
    """Room on the file system of a path; an object store has no end."""
    return shutil.disk_usage(path).free if is_local(path) else float("inf")


def _write(handle: int, content: bytes) -> None:
    os.pwrite(handle, content, 0)
    os.fsync(handle)  # on NFS others see it only then

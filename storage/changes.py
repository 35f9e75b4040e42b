"""What else is done to files and folders, where a file system and an object store differ."""

import errno
import os
import shutil
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

from storage.paths import filesystem, is_local, name_in_store

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def made_folders(path: Path) -> list[Path]:
    """Makes a folder and returns those that were not there, deepest first; an object store needs none."""
    if not is_local(path):
        return []
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return made


def create(path: Path, content: bytes) -> None:
    """Makes a small file whose name no other process uses, and leaves none where it cannot be written."""
    if not is_local(path):
        filesystem(path).pipe_file(name_in_store(path), content)
        return
    try:
        with path.open("xb") as file:
            _write(file.fileno(), content)
    except FileExistsError:
        raise
    except OSError:
        path.unlink(missing_ok=True)
        raise


def overwrite(path: Path, content: bytes) -> None:
    """Writes over a small file of the same length in place. Raises FileNotFoundError where it is not there.

    On a file system it never comes to be again when another process removes it meanwhile; in an object store it may.
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
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.move(path, target)  # where a folder of the study is a link to another file system
        return
    store, start = filesystem(path), name_in_store(path)
    found = store.find(start)
    if not found:
        raise FileNotFoundError(path)
    for name in found:
        store.cp_file(name, name_in_store(target) + name.removeprefix(start))
    store.rm(found)


def set_aside(path: Path, root: Path, reason: str) -> None:
    """Moves a damaged file or folder below `root` to the same name under <root>/damaged/, and says so on stderr.

    What is gone already is no error.
    """
    wanted = root.absolute() / "damaged" / str(path.absolute().relative_to(root.absolute()))
    names = (wanted.with_name(f"{wanted.name}.{number}" if number else wanted.name) for number in count())
    target = next(name for name in names if not name.exists())
    try:
        move(path, target)
    except FileNotFoundError:
        return
    said = " ".join(reason.split())
    print(f"damaged, moved to {target}; made again when a member needs it: {said}", file=sys.stderr, flush=True)


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it, as far as it goes."""
    if is_local(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        store = filesystem(path)
        if found := store.find(name_in_store(path)):
            store.rm(found)


def full_disk(error: BaseException) -> bool:
    """Whether an error, here or in a worker whose traceback it holds, says that no room or quota is left."""
    return any(getattr(error, "errno", None) == number or os.strerror(number) in str(error) for number in _NO_SPACE)


def free_bytes(path: Path) -> float:
    """Room on the file system of a path; an object store has no end."""
    return shutil.disk_usage(path).free if is_local(path) else float("inf")


def _write(handle: int, content: bytes) -> None:
    os.pwrite(handle, content, 0)
    os.fsync(handle)  # on NFS others see it only then

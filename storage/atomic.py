"""Files and folders that a reader sees whole or not at all, wherever the writer is killed.

On a file system what is written goes to a temporary name beside its place, is fsynced and renamed; then the folder that
holds it is fsynced. A writer that is killed leaves the temporary name, which no reader reads, for `remove_temporaries`.
In an object store a file is one PUT, and a folder is filled on the local disk and uploaded with its marker last.
"""

import io
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from storage.paths import WHOLE, filesystem, is_local, is_there, name_in_store

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp\Z")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` when the block ends without an error; an existing one is replaced."""
    if not is_local(path):
        content = io.BytesIO()
        yield content
        filesystem(path).pipe_file(name_in_store(path), content.getvalue())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, marker: str = WHOLE) -> Iterator[Path]:
    """A local folder to put files into, which becomes `path` when the block ends without an error.

    An existing folder stays: the first writer wrote the same content. marker: the file in it by which readers know
    that it is whole (`is_there`).
    """
    if not is_local(path):
        with tempfile.TemporaryDirectory() as local:
            yield Path(local)
            if marker == WHOLE:
                (Path(local) / WHOLE).touch()
            if not is_there(path, marker):
                upload(Path(local), path, last=marker)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        _sync(temporary)
        temporary.rename(path)
        _sync(path.parent)
    except OSError:
        if not path.exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def upload(local: Path, path: Path, *, last: str) -> None:
    """Puts all files of a local folder under a path of an object store, the one named `last` after the others."""
    names = [file.relative_to(local).as_posix() for file in local.rglob("*") if file.is_file()]
    for name in sorted(names, key=lambda name: (name == last, name)):
        filesystem(path).put_file(str(local / name), name_in_store(path / name))


def remove_temporaries(folder: Path) -> None:
    """Removes what killed writers left in a folder, by its name; links are not followed. For when no other writes."""
    if not is_local(folder) or folder.is_symlink() or not folder.is_dir():
        return  # what a killed writer had uploaded of a folder is overwritten by the next
    for path in folder.iterdir():
        if not _TEMPORARY.match(path.name) or path.is_symlink():
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _temporary_name(path: Path) -> Path:
    """Another name for every writer, on whichever machine."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""What a path is: pathlib's own, or one of an object store; and which folders are whole."""

from pathlib import Path
from typing import Any, cast

SCHEMES = ("s3", "gs", "az")
WHOLE = ".whole"  # the marker where no file of a folder's own is one


def is_local(path: Path) -> bool:
    return isinstance(path, Path)


def filesystem(path: Path) -> Any:
    """The fsspec file system of a path that is not local."""
    return cast(Any, path).fs


def name_in_store(path: Path) -> str:
    """What its file system calls a path that is not local: without the scheme."""
    return str(cast(Any, path).path)


def is_there(folder: Path, marker: str = WHOLE) -> bool:
    """Whether a folder that `new_folder` made is there, with all that is in it."""
    return folder.exists() if is_local(folder) else (folder / marker).exists()


def whole_folders(parent: Path, marker: str = WHOLE, pattern: str = "*") -> list[Path]:
    """The folders by `new_folder` that are there in the parent, by name; what is hidden is none."""
    if is_local(parent):
        found = list(parent.glob(pattern))
    else:
        found = [path.parent for path in parent.glob(f"{pattern}/{marker}")]
    return sorted(path for path in found if not path.name.startswith("."))

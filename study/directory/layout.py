"""Where things are in a study directory (study/README.md, The study directory)."""

from pathlib import Path
from typing import Any

from pyarrow.fs import FSSpecHandler, PyFileSystem

from storage import filesystem, is_local, name_in_store
from trainables.folders import Folders


def folders(study_dir: Path) -> Folders:
    """The folders that workers use, absolute, for a worker has a working directory of its own."""
    root = study_dir.absolute()
    names = ("teachers", "initial", "students", "reference")
    return Folders(**{name: root / name for name in names})


def samples_dir(study_dir: Path) -> Path:
    return study_dir / "samples"


def checkpoints_dir(study_dir: Path) -> Path:
    """Training state, a folder for every pack that is not finished; losing it costs time alone."""
    return study_dir.absolute() / "checkpoints"


def ray_dir(study_dir: Path) -> Path:
    """What Ray keeps for itself while packs run; nothing is read from it again. Of the form of our temporaries."""
    return study_dir.absolute() / ".ray.00000000.tmp"


def ray_storage(study_dir: Path) -> dict[str, Any]:
    """ray_dir as Ray's RunConfig takes it, and pickles it: our file system holds no credentials, Arrow's own would."""
    path = ray_dir(study_dir)
    if is_local(path):
        return {"storage_path": str(path)}
    store = filesystem(path)
    return {"storage_path": name_in_store(path), "storage_filesystem": PyFileSystem(FSSpecHandler(store))}


def report_dir(study_dir: Path) -> Path:
    return study_dir / "report"

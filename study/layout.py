"""Where things are in a study directory (design.md, Study directory)."""

from pathlib import Path

from trainables.pack import Folders


def folders(study_dir: Path) -> Folders:
    """The folders that workers use, absolute, for a worker has a working directory of its own."""
    root = study_dir.absolute()
    return Folders(teachers=root / "teachers", students=root / "students", reference=root / "reference")


def checkpoints_dir(study_dir: Path) -> Path:
    """What Ray keeps while packs run; it can be lost."""
    return study_dir.absolute() / "checkpoints"


def report_dir(study_dir: Path) -> Path:
    return study_dir / "report"

"""A study directory is one that this program made: a marker in it says so. Any other folder with files is refused."""

from __future__ import annotations

import re
from pathlib import Path

from storage import create, is_local, read_sealed, sealed

MARKER = "study.marker"
CONTENT_ID = re.compile(r"[0-9a-f]{16}\Z")  # the names of packs, teachers, students and rows
LEASE = re.compile(r"sweep-[0-9a-f]{16}\.(lease|cancel)\Z")
_FACTS = {"written_by": "kd-stability-study"}
_LINKED = ("records", "teachers", "initial", "students", "reference", "samples", "checkpoints")


def require_claimable(study_dir: Path) -> None:
    """Raises ValueError for a folder with files that this program did not make; touches nothing."""
    if is_claimed(study_dir):
        for path in (study_dir / name for name in _LINKED):
            if is_local(path) and path.is_symlink() and not path.is_dir():
                raise ValueError(f"{path} must be a link to a folder but {path.readlink()} is none")
        return
    found = sorted(path.name for path in study_dir.iterdir()) if study_dir.is_dir() else []
    if foreign := [name for name in found if not LEASE.match(name)]:
        raise ValueError(
            f"study_dir must be empty, new or a study of this program but {study_dir} holds {', '.join(foreign[:3])}"
            f"{' and more' if len(foreign) > 3 else ''}, and no {MARKER}; nothing in it was touched"
        )


def claim(study_dir: Path) -> bool:
    """Puts the marker into an empty folder; returns whether it did. Raises ValueError for the folder of another use."""
    require_claimable(study_dir)
    if is_claimed(study_dir):
        return False
    try:
        create(study_dir / MARKER, sealed(MARKER, _FACTS))
    except FileExistsError:  # another sweep came at the same moment
        return False
    return True


def claim_again(study_dir: Path) -> None:
    """Puts the marker back where a study was removed and its workers wrote on: else the same command would refuse it.

    For the end of a lease. A folder without our training state, or with any other name in it, stays as it is.
    """
    if is_local(study_dir) and study_dir.is_dir() and not (study_dir / MARKER).exists():
        names = {path.name for path in study_dir.iterdir()}
        packs = [path.name for path in (study_dir / "checkpoints").glob("*")]
        if names <= set(_LINKED) and packs and all(map(CONTENT_ID.match, packs)):
            create(study_dir / MARKER, sealed(MARKER, _FACTS))


def is_claimed(study_dir: Path) -> bool:
    """Whether the marker is there. Raises ValueError for a file of its name with any other content."""
    marker = study_dir / MARKER
    if not marker.exists():
        return False
    if not marker.is_file():
        raise ValueError(f"{marker} is damaged: it is no file")
    return read_sealed(MARKER, marker) == _FACTS

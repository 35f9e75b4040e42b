"""What is damaged is not deleted but moved to <study_dir>/damaged/, and named in a line on stderr."""

import sys
from itertools import count
from pathlib import Path

from storage import move


def set_aside(path: Path, study_dir: Path, reason: str) -> None:
    """Moves a file or folder of the study to the same place under damaged/; what is gone already is no error."""
    wanted = study_dir.absolute() / "damaged" / str(path.absolute().relative_to(study_dir.absolute()))
    names = (wanted.with_name(f"{wanted.name}.{number}" if number else wanted.name) for number in count())
    target = next(name for name in names if not name.exists())
    try:
        move(path, target)
    except FileNotFoundError:
        return
    print(f"damaged, moved to {target} and made again: {' '.join(reason.split())}", file=sys.stderr, flush=True)

"""What is damaged in a study directory is named, moved to <study_dir>/damaged/, and made again by the sweep.

Students are checked where they are read, by the workers (trainables/training/pack.py): they may be a terabyte.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from PIL import Image

from analysis.records.rows import check_records, curves_dir, finished_run_ids, runs_dir
from storage import source, whole_folders
from storage.atomic import remove_temporaries
from storage.changes import remove_folder
from storage.location import is_there
from study.directory.layout import checkpoints_dir, folders, ray_dir, samples_dir
from trainables.damage import set_aside
from trainables.evaluation.fidelity import load_features
from trainables.models.students import FACTS as INITIAL_FACTS
from trainables.models.students import check_initial
from trainables.models.teachers import FACTS as TEACHER_FACTS
from trainables.models.teachers import check_teacher
from trainables.training.checkpoints import COMPLETE as CHECKPOINT_MARKER
from trainables.training.checkpoints import is_complete, run_ids

_LAST_KEYS = {"study", "report"}  # of study.yaml, whatever the version


def set_aside_damaged(study_dir: Path) -> None:
    """Looks through what the sweep will read, for when nobody else writes into it; a line on stderr for each damage.

    A member whose curve or samples are damaged loses its row too, so that it is done again; its student is kept.
    Raises ValueError for records of another version of this program.
    """
    for path, reason in _damage(study_dir):
        set_aside(path, study_dir, reason)
    packs = checkpoints_dir(study_dir).glob("*")
    for path in (path for pack in packs for path in whole_folders(pack, CHECKPOINT_MARKER, "step-*")):
        if not is_complete(path):
            set_aside(path, study_dir, f"{path} is not the training state that was saved")


def is_damaged(study_dir: Path) -> bool:
    """Whether anything that stays is damaged; also beside a sweep that runs."""
    return any(True for _ in _damage(study_dir))


def _damage(study_dir: Path) -> Iterator[tuple[Path, str]]:
    """What is to be moved, and why."""
    found = folders(study_dir)
    checks: list[tuple[Path, Callable[[Path], object]]] = [
        *((folder, check_teacher) for folder in whole_folders(found.teachers, TEACHER_FACTS)),
        *((folder, check_initial) for folder in whole_folders(found.initial, INITIAL_FACTS)),
        *((path, load_features) for path in _visible(found.reference)),
        *((path, _check_yaml) for path in study_dir.glob("study.yaml")),
    ]
    for path, check in checks:
        if reason := _reason(path, check):
            yield path, reason
    for error in check_records(study_dir):
        yield error.path, str(error)
        if error.path.parent == curves_dir(study_dir):
            yield _row(study_dir, error.path.stem), f"the member of {error.path} is done again"
    for path in _visible(samples_dir(study_dir)):
        if reason := _reason(path, _check_samples):
            yield path, reason
            yield _row(study_dir, path.stem), f"the member of {path} is done again"


def _reason(path: Path, check: Callable[[Path], object]) -> str | None:
    """What check(path) has against it."""
    try:
        check(path)
    except Exception as error:  # the libraries that read these files fail on broken bytes in whatever way
        return f"{path}: {error or type(error).__name__}" if path.exists() else None
    return None


def _check_samples(path: Path) -> None:
    if path.suffix == ".png":
        with Image.open(source(path), formats=["PNG"]) as image:
            image.load()
    elif path.suffix == ".npz":
        with zipfile.ZipFile(source(path)) as archive:
            if broken := archive.testzip():
                raise ValueError(f"{broken} in it is damaged")


def _check_yaml(path: Path) -> None:
    found = yaml.safe_load(path.read_text())
    if not isinstance(found, dict) or not set(found) >= _LAST_KEYS:  # what was cut off may still be YAML
        raise ValueError("it does not hold a config")


def _row(study_dir: Path, run_id: str) -> Path:
    return runs_dir(study_dir) / f"{run_id}.parquet"


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def remove_orphans(study_dir: Path) -> None:
    """Removes temporary files, what Ray kept for itself, and the state of packs with all rows and of made teachers.

    For when nobody else writes into the study.
    """
    found = folders(study_dir)
    writers = (study_dir, runs_dir(study_dir), curves_dir(study_dir), samples_dir(study_dir), study_dir / "searches")
    for folder in (*writers, found.reference, found.initial, found.students, found.teachers, *found.teachers.glob("*")):
        remove_temporaries(folder)
    _remove_checkpoints(study_dir)


def _remove_checkpoints(study_dir: Path) -> None:
    root, finished, teachers = checkpoints_dir(study_dir), finished_run_ids(study_dir), folders(study_dir).teachers
    remove_folder(ray_dir(study_dir))
    for folder in root.glob("*"):
        held = run_ids(folder)
        if held is None or held <= finished or is_there(teachers / folder.name, TEACHER_FACTS):
            remove_folder(folder)
    if root.exists() and not any(root.iterdir()):
        root.rmdir()

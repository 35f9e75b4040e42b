"""What is damaged in a study directory is named, moved to <study_dir>/damaged/, and made again where a member needs it.

Students are checked where they are read, by the workers (trainables/training/pack.py): they may be a terabyte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import yaml

from analysis.records.rows import check_records, curves_dir, finished_run_ids, read_runs, runs_dir
from storage import is_local, is_there, read_sealed, remove_folder, remove_temporaries, set_aside, whole_folders
from study.directory.claim import CONTENT_ID
from study.directory.layout import checkpoints_dir, folders, ray_dir, samples_dir
from trainables.evaluation.reference_file import sealed_tensors
from trainables.evaluation.sealed_files import check_npz, check_png
from trainables.models.facts import INITIAL, TEACHER
from trainables.models.students import check_initial
from trainables.models.teachers import SAMPLES, check_teacher
from trainables.training.checkpoints import COMPLETE as CHECKPOINT_MARKER
from trainables.training.checkpoints import is_complete, run_ids

_LAST_KEYS = {"study", "report"}  # of study.yaml, whatever the version


def set_aside_damaged(study_dir: Path) -> None:
    """Looks through what the sweep will read, for a study of one's own (`lease`); a line on stderr for each damage.

    Only files and folders of this program's own names are moved. A member whose curve or samples are damaged loses its
    row too, so that it is done again; its student is kept. Raises ValueError for records of another version.
    """
    for path, reason in damage(study_dir):
        set_aside(path, study_dir, reason)
    checkpoints = [whole_folders(pack, CHECKPOINT_MARKER, "step-*") for pack in _own(checkpoints_dir(study_dir))]
    for path in chain.from_iterable(checkpoints):
        if not is_complete(path):
            set_aside(path, study_dir, f"{path} is not the training state that was saved")


def is_damaged(study_dir: Path) -> bool:
    """Whether anything that stays is damaged; also beside a sweep that runs."""
    return any(True for _ in damage(study_dir))


def damage(study_dir: Path) -> Iterator[tuple[Path, str]]:
    """What is to be moved, and why."""
    found = folders(study_dir)
    checks: list[tuple[Path, Callable[[Path], object]]] = [
        *((folder, check_teacher) for folder in _own(found.teachers, TEACHER)),
        *((folder, check_initial) for folder in _own(found.initial, INITIAL)),
        *((folder / SAMPLES, _check_samples) for folder in _own(found.teachers, TEACHER)),
        *((path, _REFERENCE[path.suffix]) for path in _visible(found.reference) if path.suffix in _REFERENCE),
        *((path, _check_yaml) for path in study_dir.glob("study.yaml")),
    ]
    for path, check in checks:
        if reason := _reason(path, check):
            yield path, reason
    for error in check_records(study_dir):
        yield error.path, str(error)
        if error.path.parent == curves_dir(study_dir):
            yield _row(study_dir, error.path.stem), f"the member of {error.path} is done again"
    for path in own_samples(study_dir):
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


def own_samples(study_dir: Path) -> list[Path]:
    """The images and error maps of members."""
    found = _visible(samples_dir(study_dir))
    return [path for path in found if path.suffix in (".png", ".npz") and CONTENT_ID.match(path.stem)]


def _check_samples(path: Path) -> None:
    if not path.is_file():
        raise ValueError("it is no file")
    if path.suffix == ".png":
        check_png(path)
    elif path.suffix == ".npz":
        check_npz(path)


def _check_sealed(path: Path) -> None:
    read_sealed(path.name, path)


_REFERENCE = {".safetensors": sealed_tensors, ".png": _check_samples, ".json": _check_sealed}


def _check_yaml(path: Path) -> None:
    found = yaml.safe_load(path.read_text())
    if not isinstance(found, dict) or not set(found) >= _LAST_KEYS:  # what was cut off may still be YAML
        raise ValueError("it does not hold a config")


def _row(study_dir: Path, run_id: str) -> Path:
    return runs_dir(study_dir) / f"{run_id}.parquet"


def _own(folder: Path, marker: str | None = None) -> list[Path]:
    """What has a name of our own form in the folder; with a marker, only what has it."""
    found = _visible(folder) if marker is None else whole_folders(folder, marker)
    return [path for path in found if CONTENT_ID.match(path.name)]


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def missing_files(study_dir: Path) -> list[Path]:
    """What finished rows stand for and is not there: students, teachers, curves and samples. Looks at names alone."""
    found = folders(study_dir)
    where = (found.students, found.teachers, curves_dir(study_dir), samples_dir(study_dir))
    listed = {folder: {path.name for path in _visible(folder)} for folder in where}
    columns = ["run_id", "train_id", "teacher_id", "status"]
    missing = []
    for row in read_runs(study_dir).select(columns).to_pylist():
        wanted = [curves_dir(study_dir) / f"{row['run_id']}.parquet"]
        if row["status"] != "diverged":
            wanted += [found.students / row["train_id"], samples_dir(study_dir) / f"{row['run_id']}.png"]
        if row["teacher_id"] is not None:
            wanted.append(found.teachers / row["teacher_id"])
        missing += [path for path in wanted if path.name not in listed[path.parent]]
    return sorted(set(missing))


def describe_missing(study_dir: Path) -> list[str]:
    """A line for every folder out of which something of finished rows was moved."""
    by_folder: dict[Path, list[str]] = {}
    for path in missing_files(study_dir):
        by_folder.setdefault(path.parent, []).append(path.name)
    return [
        f"moved away: {len(names)} of finished rows are not in {folder}: {', '.join(names[:3])}"
        f"{' and more' if len(names) > 3 else ''}; the rows are kept"
        for folder, names in by_folder.items()
    ]


def remove_orphans(study_dir: Path) -> None:
    """Removes temporary files, what Ray kept for itself, and the state of packs with all rows and of made teachers.

    For a study of one's own (`lease`). Only names of our own form are removed, and nothing through a link.
    """
    found = folders(study_dir)
    remove_folder(ray_dir(study_dir))
    writers = (study_dir, runs_dir(study_dir), curves_dir(study_dir), samples_dir(study_dir), study_dir / "searches")
    for folder in (*writers, found.reference, found.initial, found.students, found.teachers, *_own(found.teachers)):
        if not _through_link(folder, study_dir):
            remove_temporaries(folder)
    if not _through_link(checkpoints_dir(study_dir), study_dir):
        _remove_checkpoints(study_dir)


def _through_link(folder: Path, study_dir: Path) -> bool:
    """Whether a folder of the study, or one above it in the study, is a link to another place."""
    root = study_dir.absolute()
    inside = [path for path in (folder.absolute(), *folder.absolute().parents) if root in path.parents]
    return is_local(folder) and any(path.is_symlink() for path in inside)


def _remove_checkpoints(study_dir: Path) -> None:
    root, finished, teachers = checkpoints_dir(study_dir), finished_run_ids(study_dir), folders(study_dir).teachers
    for folder in _own(root):
        if is_local(folder) and (folder.is_symlink() or not folder.is_dir()):
            continue
        held = run_ids(folder)
        if held is None or held <= finished or is_there(teachers / folder.name, TEACHER):
            remove_folder(folder)
    if root.exists() and not any(root.iterdir()):
        root.rmdir()

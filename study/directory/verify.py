"""Every file of a study against the digests that were written with it: missing, changed, or foreign."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis.records.parquet import DamagedError
from analysis.records.rows import curves_dir, read_runs, runs_dir
from storage import is_local, is_there
from study.directory.claim import CONTENT_ID, LEASE, MARKER
from study.directory.layout import folders, samples_dir
from study.directory.repair import damage, missing_files
from trainables.models.facts import INITIAL, STUDENT, TEACHER, read_facts
from trainables.models.saved import load_student
from trainables.models.teachers import SAMPLES

MISSING, CHANGED, FOREIGN = "missing", "changed", "foreign"
_FOLDERS = {"records", "teachers", "initial", "students", "reference", "samples", "checkpoints", "logs", "searches"}
_OUTPUTS = {"report", "loggers", "damaged", ".ray.00000000.tmp"}  # made of the rest, or set aside: not looked into
_OF_ROWS = (".parquet", ".png", ".npz")


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file or folder."""

    kind: str  # MISSING, CHANGED or FOREIGN
    text: str  # begins with its path


def verify(study_dir: Path) -> list[Finding]:
    """All that is wrong. Raises ValueError for records of another version."""
    found = [Finding(CHANGED, text) for path, text in damage(study_dir) if path.exists()]
    found += [Finding(FOREIGN, str(path)) for path in _foreign(study_dir)]
    try:
        found += [Finding(MISSING, f"{path}, of a finished row") for path in missing_files(study_dir)]
        found += [Finding(CHANGED, text) for text in _changed_students(study_dir)]
    except DamagedError:  # its file is among what is changed; without it the others cannot be told
        found.append(Finding(CHANGED, f"{runs_dir(study_dir)}: students were not checked, for rows cannot be read"))
    return found


def _changed_students(study_dir: Path) -> Iterator[str]:
    """Students that are not what was saved, or not those whose rows they stand for."""
    students = folders(study_dir).students
    rows = {row["train_id"]: row["weights_digest"] for row in read_runs(study_dir).to_pylist()}
    for folder in sorted(path for path in students.glob("*") if CONTENT_ID.match(path.name)):
        try:
            student = load_student(folder)
        except Exception as error:  # broken JSON and weights fail to load in whatever way
            yield f"{folder}: {error}"
            continue
        if student is None:
            yield f"{folder}: it lacks {STUDENT}"
        elif rows.get(folder.name, student.digest) != student.digest:
            yield f"{folder}: its weights are not those of the row (weights_digest)"


def _foreign(study_dir: Path) -> Iterator[Path]:
    """What has no name of our own form, and files in saved models that were not saved with them."""
    known = _FOLDERS | _OUTPUTS | {MARKER, "study.yaml", "plan.json"}
    yield from (path for path in sorted(study_dir.iterdir()) if path.name not in known and not LEASE.match(path.name))
    for folder in (runs_dir(study_dir), curves_dir(study_dir), samples_dir(study_dir)):
        for path in sorted(folder.glob("*")):
            is_bundle = folder == runs_dir(study_dir) and path.stem.startswith("bundle-")
            if path.suffix not in _OF_ROWS or not (CONTENT_ID.match(path.stem) or is_bundle):
                yield path
    found = folders(study_dir)
    for root, facts in ((found.teachers, TEACHER), (found.initial, INITIAL), (found.students, STUDENT)):
        for folder in sorted(root.glob("*")):
            if not CONTENT_ID.match(folder.name):
                yield folder
            elif is_local(folder) and is_there(folder, facts):
                allowed = {folder / SAMPLES} if root == found.teachers else set()
                yield from (path for path in _unknown_files(folder, facts) if path not in allowed)


def _unknown_files(folder: Path, facts: str) -> Iterator[Path]:
    try:
        expected = {facts, *read_facts(folder, facts)["files"]}
    except ValueError:
        return  # it is among what is changed
    files = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    yield from (path for path in files if path.relative_to(folder).as_posix() not in expected)

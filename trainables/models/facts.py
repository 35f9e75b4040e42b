"""What the files of saved models say of them: sizes, FIDs, costs. Nothing here loads torch or a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage import is_there, read_sealed
from trainables.data import DataShape
from trainables.folders import Folders
from trainables.models.sizes import Size, count
from trainables.protocol import EvaluationSpec
from trainables.specs import ModelSpec, PrunedSpec, StudentSpec, TeacherSpec, content_id

STUDENT, TEACHER, INITIAL = "training.json", "teacher.json", "student.json"  # INITIAL: of a pruned student, untrained


@dataclass(frozen=True)
class Teacher:
    """A teacher that is there: its size, and its FID under one evaluation protocol (None when its samples had none)."""

    spec: TeacherSpec
    size: Size
    fid: float | None


def find_teacher(spec: TeacherSpec, evaluation: EvaluationSpec, folders: Folders) -> Teacher | None:
    """The teacher if it is trained and evaluated under this protocol, else None."""
    facts = read_teacher_facts(folders.teachers / spec.teacher_id)
    protocol = content_id(evaluation.identity())
    if facts is None or protocol not in facts["evaluations"]:
        return None
    return Teacher(spec, Size(facts["params"], facts["macs"]), facts["evaluations"][protocol]["fid"])


def read_teacher_facts(folder: Path) -> dict[str, Any] | None:
    return read_facts(folder, TEACHER) if is_there(folder, TEACHER) else None


def is_made(spec: StudentSpec, folder: Path) -> bool:
    """Whether what a student starts from is in the folder of such models, or follows from its seed alone."""
    return isinstance(spec, ModelSpec) or is_there(folder / spec.initial_id, INITIAL)


def student_size(spec: StudentSpec, shape: DataShape, folder: Path) -> Size:
    """How large the student (or teacher) is; also of a pruned one before it is made."""
    if isinstance(spec, PrunedSpec) and is_made(spec, folder):
        facts = read_facts(folder / spec.initial_id, INITIAL)
        return Size(facts["params"], facts["macs"])
    return count(spec, shape)


def read_facts(folder: Path, facts_name: str) -> dict[str, Any]:
    """The facts of a saved model. Raises ValueError when they are not there or not what was written."""
    return read_sealed(folder.name, folder / facts_name)

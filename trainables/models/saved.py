"""Keeps trained students: safetensors and JSON, written to a temporary folder and renamed, never unpickled."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from storage import check_files, digests, is_there, new_folder, read_sealed, sealed
from trainables.families import family_of
from trainables.models import load_model
from trainables.models.digest import weights_digest
from trainables.training.trainee import Trainee

FACTS = "training.json"


@dataclass(frozen=True)
class TrainedStudent:
    """The outcome of a member's training. `model` is the EMA student, None when the member diverged."""

    train_id: str
    model: nn.Module | None
    digest: str | None  # sha256 of the EMA student's tensors
    curve: list[dict[str, float | int]]  # rows: step, loss terms, gate, ... (analysis' curve schema)
    train_seconds: float  # this member's share of its pack's wall time
    diverged_at_step: int | None
    stopped_at_step: int | None = None  # early, at a rung; `model` is the student as it was then

    @classmethod
    def from_trainee(cls, trainee: Trainee, train_seconds: float) -> "TrainedStudent":
        model = trainee.ema_student() if trainee.diverged_at_step is None else None
        digest = None if model is None else weights_digest(model)
        return cls(
            trainee.member.train_id,
            model,
            digest,
            trainee.curve,
            train_seconds,
            trainee.diverged_at_step,
            trainee.stopped_at_step,
        )


def save_student(student: TrainedStudent, folder: Path) -> None:
    """Saves a student that did not diverge as a diffusers directory; a reader sees the whole folder or none."""
    assert student.model is not None
    facts = {"digest": student.digest, "curve": student.curve, "train_seconds": student.train_seconds}
    facts["stopped_at_step"] = student.stopped_at_step
    facts["dtype"] = str(next(student.model.parameters()).dtype).removeprefix("torch.")
    save_model(student.model, folder, FACTS, facts)


def load_student(folder: Path) -> TrainedStudent | None:
    """The student that `save_student` kept, or None. Raises ValueError when it is not what was saved."""
    if not is_there(folder, FACTS):
        return None
    facts = read_facts(folder, FACTS)
    check_files(folder, facts["files"])
    model = load_model(folder, dtype=getattr(torch, facts["dtype"])).eval().requires_grad_(False)
    if weights_digest(model) != facts["digest"]:
        raise ValueError(f"{folder} is damaged: its weights are not those it was saved with")
    curve, stopped = facts["curve"], facts["stopped_at_step"]
    return TrainedStudent(folder.name, model, facts["digest"], curve, facts["train_seconds"], None, stopped)


def save_model(model: Any, folder: Path, facts_name: str, facts: dict[str, Any]) -> None:
    """Saves a diffusers model and a JSON file of facts under one name, atomically; an existing folder stays."""
    if is_there(folder, facts_name):
        return
    with new_folder(folder, facts_name) as temporary:
        family_of(model).plain(model).save_pretrained(temporary, safe_serialization=True)
        content = sealed(folder.name, {**facts, "files": digests(temporary)})
        (temporary / facts_name).write_bytes(content)


def read_facts(folder: Path, facts_name: str) -> dict[str, Any]:
    """The facts of a saved model. Raises ValueError when they are not there or not what was written."""
    return read_sealed(folder.name, folder / facts_name)

"""Keeps trained students: safetensors and JSON, written to a temporary folder and renamed, never unpickled."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from storage import check_files, digests, is_there, new_folder, sealed
from trainables.families import Family, family_of
from trainables.models import load_model
from trainables.models.digest import weights_digest
from trainables.models.facts import STUDENT, read_facts
from trainables.process import Process


@dataclass(frozen=True)
class PackSpeed:
    """What one worker did while it trained a pack: images through the teacher and through members, and wall seconds.

    The seconds hold everything between the first step's start and the last one's end (batches, losses, updates,
    checkpoints), but not FIDs that were measured on the way.
    """

    teacher_images: int  # forward
    member_images: int  # forward and backward, over all members
    seconds: float

    def macs_per_second(self, student_macs: int, teacher_macs: int) -> float:
        """MACs of an image: the teacher's, and three times a member's (backward is twice forward)."""
        macs = self.teacher_images * teacher_macs + 3 * self.member_images * student_macs
        return macs / max(self.seconds, 1e-9)


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
    speed: PackSpeed | None = None  # of the pack, in this worker; None where the student was trained before
    fused: bool = False  # trained as one program with others of its pack


def save_student(student: TrainedStudent, folder: Path, process: Process) -> None:
    """Saves a student that did not diverge as a diffusers pipeline; a reader sees the whole folder or none."""
    assert student.model is not None
    facts = {"digest": student.digest, "curve": student.curve, "train_seconds": student.train_seconds}
    facts |= {"stopped_at_step": student.stopped_at_step, "fused": student.fused}
    facts["dtype"] = str(next(student.model.parameters()).dtype).removeprefix("torch.")
    save_model(student.model, folder, STUDENT, facts, process)


def load_student(folder: Path) -> TrainedStudent | None:
    """The student that `save_student` kept, or None. Raises ValueError when it is not what was saved."""
    if not is_there(folder, STUDENT):
        return None
    facts = read_facts(folder, STUDENT)
    check_files(folder, facts["files"])
    model = load_model(folder, dtype=getattr(torch, facts["dtype"])).eval().requires_grad_(False)
    if weights_digest(model) != facts["digest"]:
        raise ValueError(f"{folder} is damaged: its weights are not those it was saved with")
    curve, stopped = facts["curve"], facts["stopped_at_step"]
    fused = facts.get("fused", False)  # of a time before members were
    return TrainedStudent(
        folder.name, model, facts["digest"], curve, facts["train_seconds"], None, stopped, fused=fused
    )


def save_model(model: Any, folder: Path, facts_name: str, facts: dict[str, Any], process: Process) -> None:
    """Saves a model as its pipeline's folder and a JSON file of facts, atomically; an existing folder stays.

    model_index.json, unet/ or transformer/, scheduler/: what `from_pretrained` of diffusers' pipelines reads. One that
    decodes latents or reads text is given its autoencoder and encoders there: `from_pretrained(folder, vae=...)`. For a
    pruned U-Net, whose class is not diffusers' own, `import trainables.families.pruned_unet` comes before.
    """
    if is_there(folder, facts_name):
        return
    family = family_of(model)
    with new_folder(folder, facts_name) as temporary:
        family.plain(model).save_pretrained(temporary / family.component, safe_serialization=True)
        process.save(temporary / "scheduler")
        (temporary / "model_index.json").write_text(json.dumps(_model_index(family, process), indent=2))
        content = sealed(folder.name, {**facts, "files": digests(temporary)})
        (temporary / facts_name).write_bytes(content)


def _model_index(family: Family, process: Process) -> dict[str, Any]:
    """What says to diffusers which pipeline this is, and of which classes."""
    model_class = family.model_class
    library = "diffusers" if model_class.__module__.startswith("diffusers.") else model_class.__module__
    return {
        "_class_name": family.pipeline,
        "_diffusers_version": diffusers.__version__,
        family.component: [library, model_class.__name__],
        "scheduler": ["diffusers", process.scheduler],
    }

"""Teachers on disk: found by content, checked against their digest, loaded frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from storage import cached, check_files, is_there, new_file, sealed
from trainables.folders import Folders
from trainables.models.build import component_folder, load_model
from trainables.models.digest import tensors_digest
from trainables.models.saved import read_facts
from trainables.models.sizes import Size
from trainables.protocol import EvaluationSpec
from trainables.specs import Member, TeacherSpec, content_id

FACTS = "teacher.json"
SAMPLES = "samples.png"  # beside it: images of the last evaluation
_WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Teacher:
    """A teacher that is there: its size, and its FID under one evaluation protocol (None when its samples had none)."""

    spec: TeacherSpec
    size: Size
    fid: float | None


def find_teacher(spec: TeacherSpec, evaluation: EvaluationSpec, folders: Folders) -> Teacher | None:
    """The teacher if it is trained and evaluated under this protocol, else None."""
    facts = _read_facts(folders.teachers / spec.teacher_id)
    protocol = content_id(evaluation.identity())
    if facts is None or protocol not in facts["evaluations"]:
        return None
    return Teacher(spec, Size(facts["params"], facts["macs"]), facts["evaluations"][protocol]["fid"])


def check_teacher(folder: Path) -> dict[str, Any]:
    """What is known of a teacher that is there. Raises ValueError when it is not the one that was saved."""
    facts = read_facts(folder, FACTS)
    check_files(folder, facts["files"])
    tensors = safetensors.torch.load_file(component_folder(cached(folder)) / _WEIGHTS)
    if tensors_digest(tensors) != facts["digest"]:
        raise ValueError(f"{folder} is damaged: its weights are not those it was saved with")
    return facts


def _write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    with new_file(folder / FACTS) as file:
        file.write(sealed(folder.name, facts))


def _read_facts(folder: Path) -> dict[str, Any] | None:
    return read_facts(folder, FACTS) if is_there(folder, FACTS) else None


def load_teacher(folder: Path, member: Member, device: torch.device) -> nn.Module:
    """The frozen teacher of a member's pack."""
    teacher = load_model(cached(folder), dtype=getattr(torch, member.train.precision))
    return teacher.to(device).eval().requires_grad_(False)

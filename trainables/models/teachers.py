"""Teachers on disk: checked against their digest, loaded frozen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from storage import cached, check_files, new_file, sealed
from trainables.models.build import component_folder, load_model
from trainables.models.digest import tensors_digest
from trainables.models.facts import TEACHER, read_facts
from trainables.specs import Member

SAMPLES = "samples.png"  # beside it: images of the last evaluation
_WEIGHTS = "diffusion_pytorch_model.safetensors"


def check_teacher(folder: Path) -> dict[str, Any]:
    """What is known of a teacher that is there. Raises ValueError when it is not the one that was saved."""
    facts = read_facts(folder, TEACHER)
    check_files(folder, facts["files"])
    tensors = safetensors.torch.load_file(component_folder(cached(folder)) / _WEIGHTS)
    if tensors_digest(tensors) != facts["digest"]:
        raise ValueError(f"{folder} is damaged: its weights are not those it was saved with")
    return facts


def _write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    with new_file(folder / TEACHER) as file:
        file.write(sealed(folder.name, facts))


def load_teacher(folder: Path, member: Member, device: torch.device) -> nn.Module:
    """The frozen teacher of a member's pack."""
    teacher = load_model(cached(folder), dtype=getattr(torch, member.train.precision))
    return teacher.to(device).eval().requires_grad_(False)

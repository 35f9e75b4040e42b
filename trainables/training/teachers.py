"""Teachers that a study trains itself: once, kept as diffusers models, found again by content."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from storage import cached, is_there, new_file
from trainables.models.saved import check_files, read_facts, save_model, sealed
from trainables.data import data_shape, load_data
from trainables.evaluation.evaluator import Evaluator
from trainables.losses.methods import METHODS
from trainables.models import Size, count, load_model
from trainables.models.pretrained import fetch
from trainables.training.pack import Folders, Progress, load_teacher, train_pack
from trainables.ranks import Ranks
from trainables.training.checkpoints import Checkpoints
from trainables.specs import EvaluationSpec, Member, TeacherSpec, content_id
from trainables.training.trainee import tensors_digest, weights_digest

FACTS = "teacher.json"
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


def make_teacher(
    spec: TeacherSpec,
    evaluation: EvaluationSpec,
    folders: Folders,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Trains the teacher unless it is there, and evaluates it under this protocol; `find_teacher` finds it afterwards.

    A teacher is trained like a student without KD: it is the member (diffusion_only, student = teacher's model). An
    assistant is one with KD, from its larger teacher, which must be there.
    Raises ValueError when its training diverges.
    """
    folder = folders.teachers / spec.teacher_id
    torch_device = torch.device(device)
    if _read_facts(folder) is None:
        if spec.pretrained is not None:
            model = load_model(fetch(spec))
        else:
            model = _trained(
                spec,
                evaluation,
                folders,
                device=torch_device,
                progress=progress or Progress(),
                checkpoints=checkpoints,
            )
        size = count(spec.model, data_shape(spec.data))
        facts = {"name": spec.name, "params": size.params, "macs": size.macs, "digest": weights_digest(model)}
        save_model(model, folder, FACTS, {**facts, "evaluations": {}})
    if checkpoints is not None:
        checkpoints.remove()
    saved = check_teacher(folder)
    model = load_model(cached(folder), dtype=getattr(torch, spec.train.precision)).to(torch_device).eval()
    evaluator = Evaluator(evaluation, spec.data, spec.process, folders.reference, torch_device)
    metrics = dict(evaluator(model).metrics)
    _write_facts(folder, {**saved, "evaluations": {**saved["evaluations"], content_id(evaluation.identity()): metrics}})


def _trained(
    spec: TeacherSpec,
    evaluation: EvaluationSpec,
    folders: Folders,
    *,
    device: torch.device,
    progress: Progress,
    checkpoints: Checkpoints | None,
) -> Any:
    member = Member(
        data=spec.data,
        teacher=spec.larger,
        student=spec.model,
        method=spec.method or METHODS["diffusion_only"],
        seed=spec.seed,
        train=spec.train,
        evaluation=evaluation,
        process=spec.process,
    )
    (trained,) = train_pack(
        [member],
        load_teacher(folders.teachers / spec.larger.teacher_id, member, device) if spec.larger else None,
        load_data(spec.data),
        initial=folders.initial,
        device=device,
        ranks=Ranks(),
        progress=progress,
        checkpoints=checkpoints,
    )
    if trained.model is None:
        raise ValueError(f"teacher {spec.name} diverged at step {trained.diverged_at_step}; lower teacher_train.lr")
    return trained.model


def check_teacher(folder: Path) -> dict[str, Any]:
    """What is known of a teacher that is there. Raises ValueError when it is not the one that was saved."""
    facts = read_facts(folder, FACTS)
    check_files(folder, facts)
    tensors = safetensors.torch.load_file(cached(folder) / _WEIGHTS)
    if tensors_digest(tensors) != facts["digest"]:
        raise ValueError(f"{folder} is damaged: its weights are not those it was saved with")
    return facts


def _write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    with new_file(folder / FACTS) as file:
        file.write(sealed(facts))


def _read_facts(folder: Path) -> dict[str, Any] | None:
    return read_facts(folder, FACTS) if is_there(folder, FACTS) else None

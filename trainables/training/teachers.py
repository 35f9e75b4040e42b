"""Teachers that a study trains itself: once, kept as diffusers models, found again by content."""

import time
from dataclasses import replace
from typing import Any

import torch

from storage import cached
from trainables.data import data_shape, load_data
from trainables.evaluation.evaluator import Evaluator
from trainables.evaluation.real_images import save_grid
from trainables.folders import Folders
from trainables.losses.methods import METHODS
from trainables.models import count_model, load_model
from trainables.models.digest import weights_digest
from trainables.models.facts import TEACHER, is_made, read_teacher_facts
from trainables.models.own_code import require_evaluation_code, require_teacher_code
from trainables.models.pretrained import load_pretrained
from trainables.models.saved import save_model
from trainables.models.students import make_initial
from trainables.models.teachers import SAMPLES, _write_facts, check_teacher, load_teacher
from trainables.protocol import EvaluationSpec
from trainables.ranks import Ranks
from trainables.specs import Member, PrunedSpec, TeacherSpec, content_id
from trainables.training.checkpoints import Checkpoints
from trainables.training.execution import BY_DEFAULT, Execution
from trainables.training.pack import Progress, train_pack

_LOOK_SECONDS = 1.0  # of the ranks that wait for what rank 0 cuts


def make_teacher(
    spec: TeacherSpec,
    evaluation: EvaluationSpec,
    folders: Folders,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    execution: Execution = BY_DEFAULT,
    devices: float = 1.0,
    ranks: Ranks | None = None,
) -> None:
    """Trains the teacher unless it is there, and evaluates it under this protocol; `find_teacher` finds it afterwards.

    A teacher is trained like a student without KD: it is the member (diffusion_only, student = teacher's model), which
    is cut first where it is a pruned one. An assistant is one with KD, from its larger teacher. The teachers that it is
    made from must be there. In a group of ranks every rank trains its share of each batch, as students do; rank 0 does
    all else. devices: the part of a GPU that a worker has, by which the teacher's file counts the seconds.
    Raises ValueError when its training diverges.
    """
    require_teacher_code(spec)
    require_evaluation_code(evaluation)
    ranks = ranks or Ranks.current()
    folder = folders.teachers / spec.teacher_id
    torch_device = torch.device(device)
    devices *= ranks.world_size
    is_there = bool(ranks.from_first(int(read_teacher_facts(folder) is not None), torch_device))
    if ranks.rank > 0 and (is_there or spec.pretrained is not None):
        return
    if not is_there:
        seconds = 0.0
        if spec.pretrained is not None:
            model = load_pretrained(spec)
        else:
            model, seconds = _trained(
                spec,
                evaluation,
                folders,
                device=torch_device,
                progress=progress or Progress(),
                checkpoints=checkpoints,
                execution=execution,
                devices=devices,
                ranks=ranks,
            )
        if ranks.rank > 0:
            return
        size = count_model(model, data_shape(spec.data))
        facts = {"name": spec.name, "params": size.params, "macs": size.macs, "digest": weights_digest(model)}
        facts |= {"device_seconds": devices * seconds, "world_size": ranks.world_size, "evaluations": {}}
        save_model(model, folder, TEACHER, facts, spec.process)
    if checkpoints is not None:
        checkpoints.remove()
    saved, started = check_teacher(folder), time.perf_counter()
    model = load_model(cached(folder), dtype=getattr(torch, spec.train.precision)).to(torch_device).eval()
    evaluator = Evaluator(evaluation, spec.data, spec.process, folders.reference, torch_device)
    found = evaluator(model)
    save_grid(folder / SAMPLES, found.samples)
    evaluations = {**saved["evaluations"], content_id(evaluation.identity()): dict(found.metrics)}
    spent = saved.get("device_seconds", 0.0) + devices * (time.perf_counter() - started)
    _write_facts(folder, {**saved, "device_seconds": spent, "evaluations": evaluations})


def _trained(
    spec: TeacherSpec,
    evaluation: EvaluationSpec,
    folders: Folders,
    *,
    device: torch.device,
    progress: Progress,
    checkpoints: Checkpoints | None,
    execution: Execution,
    devices: float,
    ranks: Ranks,
) -> tuple[Any, float]:
    """The model, and the seconds of its training."""
    assert spec.seed is not None
    if isinstance(spec.model, PrunedSpec):
        if ranks.rank == 0:
            make_initial(spec.model, folders.teachers, folders.initial, device=str(device), devices=devices)
        while not is_made(spec.model, folders.initial):  # no collective: that would give up after half an hour
            time.sleep(_LOOK_SECONDS)
    if ranks.world_size > 1:  # one member has nobody to be fused with
        execution = replace(execution, fused=None)
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
        ranks=ranks,
        progress=progress,
        checkpoints=checkpoints,
        execution=execution,
    )
    if trained.model is None:
        raise ValueError(f"teacher {spec.name} diverged at step {trained.diverged_at_step}; lower teacher_train.lr")
    return trained.model, trained.train_seconds

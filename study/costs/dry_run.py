"""dry_run=true: what a study would take, from shapes alone; nothing is written or started."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from study.config.study import StudyConfig
from study.costs.disk import describe_bytes, estimate_disk
from study.directory.layout import folders
from study.planning.arms import planned_packs
from study.planning.members import Pack, plan_members, plan_packs, plan_teachers
from trainables.data import DataShape, data_shape
from trainables.families import predict
from trainables.models import Size, build_model, count, example_inputs
from trainables.models.students import student_size
from trainables.models.teachers import find_teacher
from trainables.specs import StudentSpec, TeacherSpec

TERAFLOPS = 10.0  # sustained in float32 by one GPU of about 2022; the hours scale with it
_STATES = 5  # a member's weights, gradients, two moments of Adam and the EMA
_BACKWARD = 3  # forward and backward against forward alone


def describe(config: StudyConfig) -> str:
    """Members, packs, models, device memory, device hours and disk, a line each."""
    return "\n".join(_lines(config))


def _lines(config: StudyConfig) -> Iterator[str]:
    shape, found = data_shape(config.data), folders(config.study_dir)
    packs = plan_packs(plan_members(config), config.max_members) if config.tuning is None else planned_packs(config)
    missing = [spec for spec in plan_teachers(config) if find_teacher(spec, config.evaluation, found) is None]
    student = student_size(config.student, shape, found.initial)
    num_members = sum(len(pack.members) for pack in packs)
    yield f"{num_members} members in {len(packs)} packs of {min(sizes := _sizes(packs))} to {max(sizes)}"
    yield f"student {config.student.name}: {_describe(student)}"
    for spec in plan_teachers(config):
        size = count(spec.model, shape)
        gap = f"{size.params / student.params:.3g} times the student"
        state = "there" if spec not in missing else "to be fetched" if spec.pretrained else "to be trained"
        yield f"teacher {spec.name}: {_describe(size)}, {gap}, {state}"
    yield f"memory of a worker: about {describe_bytes(memory_bytes(config, packs))}"
    hours = sum(_pack_flops(config, pack, shape, student) for pack in packs)
    hours += sum(_BACKWARD * _steps_flops(config, spec, shape) for spec in missing)
    hours /= TERAFLOPS * 1e12 * 3600
    yield f"about {hours:.3g} device-hours at {TERAFLOPS:g} teraflops sustained"
    yield f"{estimate_disk(config, missing, packs, 1)}"


def memory_bytes(config: StudyConfig, packs: list[Pack]) -> int:
    """Of the largest pack: its teacher, what its members keep, and what one member's backward pass needs."""
    shape, itemsize = data_shape(config.data), getattr(torch, config.train.precision).itemsize
    batch_size = config.train.batch_size // config.cluster.num_workers
    student = student_size(config.student, shape, folders(config.study_dir).initial)
    teachers = max((count(pack.teacher.model, shape).params for pack in packs if pack.teacher), default=0)
    kept = _STATES * student.params * max(_sizes(packs))
    return int(itemsize * (teachers + kept) + _saved_bytes(config.student, shape, batch_size))


def _saved_bytes(spec: StudentSpec, shape: DataShape, batch_size: int) -> int:
    """What a forward pass keeps for the backward pass, on the meta device."""
    model = build_model(spec, shape, seed=0, device="meta")
    parameters = {id(parameter) for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in parameters:
            storage = tensor.untyped_storage()
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = predict(model, *example_inputs(shape, batch_size, torch.device("meta"), torch.float32))
        del output
    return sum(saved.values())


def _pack_flops(config: StudyConfig, pack: Pack, shape: DataShape, student: Size) -> float:
    train, evaluation, num_members = pack.members[0].train, config.evaluation, len(pack.members)
    teacher = count(pack.teacher.model, shape).macs if pack.teacher else 0
    training = train.steps * train.batch_size * (teacher + _BACKWARD * num_members * student.macs)
    passes = evaluation.sampler_steps * (1 if evaluation.guidance == 1 else 2)
    return 2.0 * (training + num_members * evaluation.num_images * passes * student.macs)


def _steps_flops(config: StudyConfig, spec: TeacherSpec, shape: DataShape) -> float:
    return 2.0 * spec.num_steps * spec.train.batch_size * count(spec.model, shape).macs


def _sizes(packs: list[Pack]) -> list[int]:
    return [len(pack.members) for pack in packs]


def _describe(size: Size) -> str:
    return f"{size.params:,} parameters, {size.macs / 1e9:.4g}G MACs"

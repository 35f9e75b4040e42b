"""dry_run=true: what a study would take, from shapes alone; nothing is written or started."""

from __future__ import annotations

from collections.abc import Iterator

from study.config.study import StudyConfig
from study.costs.activations import sampling_bytes
from study.costs.disk import describe_bytes, estimate_disk
from study.costs.memory import MemoryNeeds
from study.costs.model import describe_seconds, find_costs
from study.costs.preflight import describe_fetched, describe_gpus
from study.directory.layout import folders
from study.planning.arms import planned_packs
from study.planning.members import plan_members, plan_packs, plan_teachers
from study.planning.power import describe_power
from trainables.evaluation.micro_batches import micro_batch_size
from trainables.models.facts import find_teacher
from trainables.models.sizes import Size
from trainables.specs import TeacherSpec

_HOURS_OF_A_CPU = 24.0  # a study that takes longer is not for one, so that GPUs are spoken of


def describe(config: StudyConfig, num_slots: int | None = None) -> str:
    """Members, packs, models, device memory, device hours, kinds of GPU, what is fetched, disk and design power, a line
    each.

    num_slots: packs at once on this machine, for the time that it takes here; None: it does not run here.
    """
    return "\n".join(_lines(config, num_slots))


def _lines(config: StudyConfig, num_slots: int | None) -> Iterator[str]:
    found, costs = folders(config.study_dir), find_costs(config)
    counts, throughput = costs.counts, costs.throughput
    planned = plan_members(config) if config.tuning is None else []
    packs = plan_packs(planned, config.max_members) if config.tuning is None else planned_packs(config)
    missing = [spec for spec in plan_teachers(config) if find_teacher(spec, config.evaluation, found) is None]
    sizes = [len(pack.members) for pack in packs]
    needs, parts = MemoryNeeds.of(config, counts, missing), config.execution.gradient_accumulation
    yield f"{sum(sizes)} members in {len(packs)} packs of {min(sizes)} to {max(sizes)}"
    yield f"student {config.student.name}: {_describe(counts.student)}"
    for spec in plan_teachers(config):
        size = counts.teachers[spec.teacher_id]
        gap = size.params / counts.student.params
        times = f"{gap:,.0f}" if gap >= 100 else f"{gap:.3g}"
        state = _to_be(spec) if spec in missing else "there"
        if spec in missing and spec.pretrained is None:
            state += f" in {describe_bytes(needs.teachers[spec.teacher_id].total(1, parts))} a worker"
        state += f", sampled in {describe_bytes(sampling_bytes(spec.model, counts.shape))}" if spec in missing else ""
        seed = f" (seed {spec.seed})" if spec.seed else ""
        yield f"teacher {spec.name}{seed}: {_describe(size)}, {times} times the student, {state}"
    sampled = describe_bytes(sampling_bytes(config.student, counts.shape))
    at_once = micro_batch_size(counts.shape.image)
    yield (
        f"memory of a worker: about {describe_bytes(needs.pack.total(max(sizes), parts))} to train a pack,"
        f" {sampled} to sample {at_once} images at once (a GPU with less samples fewer)"
    )
    teachers = config.cluster.of_teachers
    if teachers.num_workers > 1 and any(spec.pretrained is None for spec in missing):
        gpus = f" and {teachers.gpus_per_worker:g} GPUs" if teachers.gpus_per_worker else ""
        yield f"a teacher is trained by {teachers.num_workers} workers of {teachers.cpus_per_worker:g} CPUs{gpus}"
    hours = costs.device_seconds(packs, missing) / 3600
    yield f"about {hours:.3g} device-hours at {throughput.macs_per_second:.3g} MACs/s a worker ({throughput.source})"
    if num_slots is not None and hours <= _HOURS_OF_A_CPU:
        here = describe_seconds(costs.total_seconds(packs, missing, num_slots))
        yield f"about {here} on this machine, {num_slots} packs at once"
    if config.cluster.gpus_per_worker or hours > _HOURS_OF_A_CPU:
        yield from describe_gpus(costs, packs, missing, needs)
    yield from describe_fetched(missing)
    yield f"{estimate_disk(config, missing, packs, 1, counts)}"
    yield describe_power(config, planned)


def _to_be(spec: TeacherSpec) -> str:
    if spec.pretrained is None:
        return "to be trained"
    return "to be fetched" if spec.pretrained.hub else "to be copied"


def _describe(size: Size) -> str:
    return f"{size.params:,} parameters, {size.macs / 1e9:.4g}G MACs"

"""What a dry run says of kinds of GPU: whether a pack fits, in how many hours, and what to change where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from study.config.study import StudyConfig
from study.costs.disk import describe_bytes
from study.costs.memory import MemoryNeeds
from study.costs.model import Costs
from study.costs.throughput import GPU_SHARES, Throughput
from study.planning.members import Pack
from trainables.models.pretrained import is_cached
from trainables.specs import TeacherSpec
from trainables.training.memory import USABLE, MemoryNeed


@dataclass(frozen=True)
class Gpu:
    """A kind of card: its memory, and its peak without sparsity by train.matmul, as its maker says."""

    name: str
    memory_gb: int
    teraflops: dict[str, float]

    def throughput(self, matmul: str, part: float) -> Throughput:
        """Of a worker that has a part of the card: an assumed share of the peak."""
        macs_per_second = self.teraflops[matmul] * 1e12 / 2 * GPU_SHARES[matmul]
        return Throughput(macs_per_second * part, 0.0, f"assumed of a {self.name}")


GPUS = (
    Gpu("24 GB card (RTX 4090)", 24, {"float32": 82.6, "tf32": 82.6, "bf16": 165.2}),
    Gpu("A100", 80, {"float32": 19.5, "tf32": 156.0, "bf16": 312.0}),
    Gpu("H100", 80, {"float32": 66.9, "tf32": 494.5, "bf16": 989.4}),
)


def describe_gpus(
    costs: Costs, packs: Sequence[Pack], missing: Sequence[TeacherSpec], needs: MemoryNeeds
) -> Iterator[str]:
    """A line for every kind of GPU, for a worker with the part of one that the config gives it; all of one without."""
    config = costs.config
    part = min(config.cluster.gpus_per_worker or 1.0, 1.0)
    on_gpu = replace(config, cluster=replace(config.cluster, gpus_per_worker=config.cluster.gpus_per_worker or 1.0))
    num_members = max(len(pack.members) for pack in packs)
    teachers = {spec.name: (spec, needs.teachers[spec.teacher_id]) for spec in missing if spec.pretrained is None}
    for gpu in GPUS:
        own = replace(costs, config=on_gpu, throughput=gpu.throughput(config.train.matmul, part))
        hours = own.device_seconds(packs, missing) / 3600
        memory = USABLE * gpu.memory_gb * 1e9 * part
        fits = _fit(needs.pack, num_members, config, memory) + _teachers_that_do_not_fit(teachers, config, memory)
        yield f"{gpu.name}: {fits}; about {hours:.3g} device-hours (assumed)"


def _fit(need: MemoryNeed, num_members: int, config: StudyConfig, memory: float) -> str:
    """Whether the largest pack fits, or the first change that makes it fit: fewer members, smaller parts of a batch."""
    parts = config.execution.gradient_accumulation
    said = f"{describe_bytes(need.total(num_members, parts))} of {describe_bytes(memory)}"
    if need.total(num_members, parts) <= memory:
        return f"fits, {said}"
    fewer = need.most_members(memory, parts)
    if fewer >= 1:
        return f"fits with pack.max_members={fewer}, {said} without"
    share = config.train.batch_size // config.cluster.num_workers
    for smaller in _divisors(share):
        if smaller > parts and need.total(1, smaller) <= memory:
            return f"fits with pack.max_members=1 pack.gradient_accumulation={smaller}, {said} without"
    least = describe_bytes(need.total(1, share))
    return f"does not fit, {said}, and {least} for one member and an image at a time"


def _teachers_that_do_not_fit(
    teachers: Mapping[str, tuple[TeacherSpec, MemoryNeed]], config: StudyConfig, memory: float
) -> str:
    """Of each its need, and what makes it fit where anything does: parts of a batch, in turn or in so many workers."""
    said, parts, workers = "", config.execution.gradient_accumulation, config.cluster.teacher_num_workers
    for name, (spec, need) in teachers.items():
        if need.total(1, parts) <= memory:
            continue
        said += f"; teacher {name} does not, {describe_bytes(need.total(1, parts))}"
        for times in _divisors(spec.train.batch_size // workers // parts):
            if need.total(1, parts * times) <= memory:
                said += f" (with pack.gradient_accumulation={parts * times} or"
                said += f" cluster.teacher_num_workers={workers * times} it does)"
                break
    return said


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def describe_fetched(missing: Sequence[TeacherSpec]) -> Iterator[str]:
    """A line for every teacher of the hub that the study begins with: whether this machine has it."""
    for spec in missing:
        if spec.pretrained is not None and spec.pretrained.hub is not None:
            where = "in the hub's cache of this machine" if is_cached(spec) else "to be fetched"
            yield f"weights {spec.name}: {where}, {spec.pretrained.hub}"

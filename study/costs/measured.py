"""The cost model: one measured step of each model, times the plan. It splits the packs and says how long they take."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from study.config.study import StudyConfig
from study.planning.members import Pack, plan_teachers
from trainables.data import data_shape
from trainables.evaluation.sample import micro_batch_size
from trainables.families import predict
from trainables.models import build_model, count, example_inputs
from trainables.specs import StudentSpec, TeacherSpec

GROUP_START_SECONDS = 20.0  # processes of a worker group: start, imports, shutdown (two at once on two cores)
_LOSS_AND_UPDATE = 1.2  # a member's step against forward and backward alone


@dataclass(frozen=True)
class Costs:
    """Seconds on one CPU thread of this machine; other devices keep the proportions, roughly."""

    teacher_forward: Mapping[str, float]  # of one batch, by teacher_id
    member_step: float
    member_evaluation: float
    teacher_evaluation_batches: float  # forward passes of a batch that the evaluation of a teacher is like

    def seconds(self, pack: Pack) -> float:
        """What a pack takes: a teacher pass a step, and a step and an evaluation for every member."""
        teacher = self.teacher_forward[pack.teacher.teacher_id] if pack.teacher else 0.0
        per_step = teacher + self.member_step * len(pack.members)
        return pack.members[0].train.steps * per_step + self.member_evaluation * len(pack.members)

    def teacher_seconds(self, spec: TeacherSpec) -> float:
        """What making a teacher takes: its training, without one of its own, and its evaluation."""
        batches = 3.3 * spec.num_steps + self.teacher_evaluation_batches
        return self.teacher_forward[spec.teacher_id] * batches

    def total_seconds(self, packs: Iterable[Pack], missing: Sequence[TeacherSpec], num_slots: int) -> float:
        """Wall seconds of the missing teachers and the packs on num_slots worker groups."""
        start = GROUP_START_SECONDS * (1 + bool(missing))
        return start + (sum(map(self.teacher_seconds, missing)) + sum(map(self.seconds, packs))) / num_slots


def measure_costs(config: StudyConfig) -> Costs:
    """Measures a few passes of the student and of every teacher, about a second a model."""
    batch_size, evaluation = config.train.batch_size, config.evaluation
    micro_batch = micro_batch_size(data_shape(config.data).image)
    num_passes = -(-evaluation.num_images // micro_batch) * evaluation.sampler_steps
    sampling = _measure(config.student, config, micro_batch, backward=False)
    return Costs(
        {spec.teacher_id: _measure(spec.model, config, batch_size, backward=False) for spec in plan_teachers(config)},
        _LOSS_AND_UPDATE * _measure(config.student, config, batch_size, backward=True),
        1.2 * num_passes * sampling,
        evaluation.num_images * evaluation.sampler_steps / batch_size,
    )


def most_members(config: StudyConfig, memory_bytes: float) -> int:
    """How many members fit a worker's memory: half of it for what each member keeps, the rest for all they share.

    A member keeps its weights, gradients, two moments of Adam and the EMA; activations are one member's at a time.
    """
    kept = 5 * count(config.student, data_shape(config.data)).params
    return max(1, int(memory_bytes / 2 / (kept * getattr(torch, config.train.precision).itemsize)))


def describe_seconds(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"


def _measure(spec: StudentSpec, config: StudyConfig, batch_size: int, *, backward: bool) -> float:
    """Seconds of one pass over a batch on one CPU thread: forward, or forward and backward."""
    shape = data_shape(config.data)
    model = build_model(spec, shape, seed=0)
    x_t, time, condition = example_inputs(shape, batch_size, torch.device("cpu"), torch.float32)

    def forward() -> None:
        with torch.no_grad():
            predict(model, x_t, time, condition)

    def both() -> None:
        torch.autograd.backward(predict(model, x_t, time, condition).sum())

    return _median_seconds(both if backward else forward)


def _median_seconds(run: Callable[[], None]) -> float:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(num_threads)
    return sorted(seconds[1:])[1]

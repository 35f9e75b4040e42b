"""Roughly how long a study takes: one measured step of each model, times the plan."""

import time
from collections.abc import Callable, Sequence

import torch

from study.config import StudyConfig
from study.plan import Pack
from trainables.data import image_shape
from trainables.models import build_model
from trainables.specs import ModelSpec, TeacherSpec

_SECONDS_PER_PACK = 8.0  # processes of a trial: start, imports, shutdown


def estimate_seconds(
    config: StudyConfig, packs: Sequence[Pack], missing: Sequence[TeacherSpec], num_slots: int
) -> float:
    """Wall seconds of the missing teachers and the packs on num_slots worker groups as fast as this machine's one."""
    forward = {
        model.name: _measure(model, config, train=False)
        for model in {teacher.model.name: teacher.model for teacher in config.teachers}.values()
    }
    student = _measure(config.student, config, train=True)
    teachers = sum(3.3 * forward[teacher.name] * teacher.train.steps for teacher in missing)
    per_member = config.evaluation.num_images / config.train.batch_size * config.evaluation.sampler_steps * student / 3
    work = teachers + _SECONDS_PER_PACK * len(packs)
    for pack in packs:
        shared = forward[pack.teacher.name] * pack.num_seeds if pack.teacher else 0.0
        steps = pack.members[0].train.steps
        work += steps * (shared + 1.2 * student * len(pack.members)) + per_member * len(pack.members)
    return work / num_slots


def describe_seconds(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"


def _measure(spec: ModelSpec, config: StudyConfig, *, train: bool) -> float:
    """Seconds of one pass over a batch on one CPU thread: forward, or forward and backward."""
    shape = image_shape(config.data)
    model = build_model(spec, shape, seed=0)
    x, t = torch.zeros((config.train.batch_size, *shape)), torch.zeros(config.train.batch_size, dtype=torch.int64)

    def forward() -> None:
        with torch.no_grad():
            model(x, t)

    def both() -> None:
        model(x, t).sample.sum().backward()

    return _median_seconds(both if train else forward)


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

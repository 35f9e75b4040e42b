"""Metrics for Prometheus, through Ray: on every node's metrics port as ray_kd_<name>, tagged by study, teacher, method.

Tags take few values whatever the size of the study; a run_id is none of them. Workers say what trains, from looks at
it (trainables/training/watch.py); the sweep says what is finished, from the records (study/watching/study_metrics.py).
"""

from __future__ import annotations

import math
from collections import Counter as Count
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from ray.util.metrics import Counter, Gauge

from trainables.specs import Member
from trainables.training.watch import Sight

_TERMS = {"loss": "total", "loss_diff": "diff", "loss_out": "out", "loss_feat": "feat"}


@dataclass(frozen=True)
class PackMetrics:
    """What a worker says of the pack that it trains."""

    study: str

    def __call__(self, sight: Sight) -> None:
        cells: dict[str, list[Mapping[str, float]]] = defaultdict(list)
        steps: Count[str] = Count()
        for one in sight.members:
            cells[one.member.method.name].append(one.point)
            steps[one.member.method.name] += one.num_steps
        teacher = teacher_of(sight.members[0].member) if sight.members else "none"
        for method, points in cells.items():
            tags = {"study": self.study, "teacher": teacher, "method": method}
            add_to_counter("member_steps", tags, steps[method])
            for column, term in _TERMS.items():
                set_gauge("loss", {**tags, "term": term}, _mean(points, column))
            for column in ("gate", "slope_error", "intercept_error", "distance", "grad_norm"):
                set_gauge(column, tags, _mean(points, column))
        add_to_counter("training_seconds", {"study": self.study, "teacher": teacher}, sight.seconds)
        add_to_counter("teacher_seconds", {"study": self.study, "teacher": teacher}, sight.teacher_seconds)


def teacher_of(member: Member) -> str:
    return member.teacher.name if member.teacher else "none"


def _mean(points: Sequence[Mapping[str, float]], column: str) -> float | None:
    values = [point[column] for point in points if math.isfinite(point.get(column, math.nan))]
    return fmean(values) if values else None


def set_gauge(name: str, tags: Mapping[str, str], value: float | None) -> None:
    if value is not None:
        _gauge(name, tuple(tags)).set(value, tags=dict(tags))


def add_to_counter(name: str, tags: Mapping[str, str], value: float) -> None:
    if value > 0:
        _counter(name, tuple(tags)).inc(value, tags=dict(tags))


@cache
def _gauge(name: str, tag_keys: tuple[str, ...]) -> Gauge:
    return Gauge(f"kd_{name}", description=_DESCRIPTIONS[name], tag_keys=tag_keys)


@cache
def _counter(name: str, tag_keys: tuple[str, ...]) -> Counter:
    return Counter(f"kd_{name}", description=_DESCRIPTIONS[name], tag_keys=tag_keys)


_DESCRIPTIONS = {
    "members": "members of the study: ok, collapsed, diverged (finished), running, waiting",
    "packs": "packs that the sweep runs: running, waiting, done",
    "fid": "mean FID of the finished members that have one",
    "device_seconds": "device-seconds of the finished members",
    "member_steps": "steps that members took",
    "training_seconds": "wall seconds of training, in every worker",
    "teacher_seconds": "those of them that were passes of the teacher",
    "loss": "newest loss of the members that train, before its lambda: term total, diff, out, feat",
    "gate": "newest gate of the members that train",
    "slope_error": "newest mean |a - 1| of the members that train",
    "intercept_error": "newest mean |b| of the members that train",
    "distance": "newest mean squared difference of student and teacher, per element",
    "grad_norm": "newest gradient norm before clipping",
}

"""What a study has cost and will cost: the estimate of study.status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from analysis.status.status import PackStatus, TeacherStatus
from study.config.study import StudyConfig
from study.costs.model import Costs, Counts, devices_per_worker
from study.costs.throughput import measured
from study.planning.members import plan_packs, plan_teachers
from trainables.specs import Member


@dataclass(frozen=True)
class Expenses:
    """Costs at the throughput of the finished members; there are none while no member has measured it."""

    config: StudyConfig
    rows: Mapping[str, Mapping[str, Any]]
    running: Sequence[PackStatus]
    waiting: Sequence[Member]
    teachers: Sequence[TeacherStatus]
    num_open: int  # members that a search has not suggested yet

    def seconds_left(self) -> float | None:
        """Device-seconds of what is not finished; None while nothing is measured."""
        if (costs := self._costs) is None:
            return None
        waiting = costs.device_seconds(plan_packs(self.waiting, self.config.max_members), ())
        return waiting + self._open_seconds(waiting) + self._begun_seconds(costs) + self._teacher_seconds(costs)

    def wall_seconds_left(self, since: datetime | None) -> float | None:
        """Seconds from now at the pace since then; None while that is not known."""
        left, span = self.seconds_left(), _span(since)
        if left is None or self._costs is None or not span:
            return None
        spent = sum(float(row["device_seconds"] or 0.0) for row in self._rows_since(since))
        spent += sum(self._training(self._costs, pack, pack.steps or 0) for pack in self.running)
        return left * span / spent if spent else None

    def member_steps_per_second(self, since: datetime | None) -> float | None:
        """Steps of members that finished since then, or are at a checkpoint; without `since` over the whole study."""
        rows = self._rows_since(since)
        steps = sum(int(row["steps"]) for row in rows)
        if since is not None:
            steps += sum((pack.steps or 0) * pack.num_members for pack in self.running)
            span: float | None = _span(since)
        else:
            span = sum(float(row["device_seconds"] or 0.0) for row in rows)
        return steps / span if span and steps else None

    def _open_seconds(self, waiting: float) -> float:
        """Of members that are not suggested yet: like the mean of those that wait, else of those that are finished."""
        if self.waiting:
            return self.num_open * waiting / len(self.waiting)
        done = [float(row["device_seconds"] or 0.0) for row in self.rows.values()]
        return self.num_open * sum(done) / len(done)

    def _begun_seconds(self, costs: Costs) -> float:
        """Of packs that run: the steps that are left, and the evaluations."""
        whole = [
            self._training(costs, pack, pack.num_steps - (pack.steps or 0), evaluate=True) for pack in self.running
        ]
        return sum(whole)

    def _teacher_seconds(self, costs: Costs) -> float:
        """Of teachers that are not made, but for the part of their steps that is taken."""
        specs = {spec.name: spec for spec in plan_teachers(self.config)}
        return sum(
            (1 - one.steps / max(1, one.num_steps)) * costs.device_seconds((), [specs[one.name]])
            for one in self.teachers
            if one.state != "made"
        )

    def _training(self, costs: Costs, pack: PackStatus, num_steps: int, *, evaluate: bool = False) -> float:
        """Device-seconds of so many steps of a pack."""
        teacher = {spec.name: spec for spec in self.config.teachers}.get(pack.teacher or "")
        work = costs.work(teacher, pack.num_members, num_steps, evaluate=evaluate)
        return (
            costs.throughput.seconds(work) * self.config.cluster.num_workers * devices_per_worker(self.config.cluster)
        )

    def _rows_since(self, since: datetime | None) -> list[Mapping[str, Any]]:
        known = [row for row in self.rows.values() if row["finished_at"] is not None]
        return [row for row in known if since is None or row["finished_at"] >= since]

    @cached_property
    def _costs(self) -> Costs | None:
        throughput = measured(self.rows.values(), self.config.cluster)
        return None if throughput is None else Costs(self.config, Counts.of(self.config), throughput)


def _span(since: datetime | None) -> float:
    return 0.0 if since is None else (datetime.now(UTC) - since).total_seconds()

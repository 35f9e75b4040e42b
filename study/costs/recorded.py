"""What a study has cost and will cost, from its finished members: the estimate of study.status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from analysis.status.status import PackStanding, TeacherStanding
from study.config.study import StudyConfig
from trainables.data import data_shape
from trainables.models import count
from trainables.specs import Member

_BACKWARD = 3  # forward and backward against forward alone


@dataclass(frozen=True)
class Expenses:
    """Finished members give the price of a multiply-accumulate, by teacher; unfinished ones are priced with it."""

    config: StudyConfig
    members: Mapping[str, Member]  # planned, by run_id
    rows: Mapping[str, Mapping[str, Any]]
    running: Sequence[PackStanding]
    waiting: Sequence[Member]
    teachers: Sequence[TeacherStanding]
    num_open: int  # members that a search has not suggested yet

    def seconds_left(self) -> float | None:
        """Device-seconds of what is not finished; None while no member is."""
        if not self._prices:
            return None
        mean = sum(self._prices.values()) / len(self._prices)
        price = {name: self._prices.get(name, mean) for name in [None, *self._macs]}
        work = [price[_teacher(member)] * self._work(_teacher(member), member.train.steps) for member in self.waiting]
        open_ones = self.num_open * sum(work) / len(work) if work else 0.0
        if self.num_open and not work:
            done = [float(row["device_seconds"] or 0.0) for row in self.rows.values()]
            open_ones = self.num_open * sum(done) / len(done)
        begun = [
            price.get(pack.teacher, mean)
            * self._work(pack.teacher, pack.num_steps - (pack.steps or 0))
            * pack.num_members
            for pack in self.running
        ]
        made = [
            mean * _BACKWARD * self._macs[one.name] * (one.num_steps - one.steps)
            for one in self.teachers
            if one.state != "made" and one.name in self._macs
        ]
        return sum(work) + open_ones + sum(begun) + sum(made)

    def wall_seconds_left(self, since: datetime | None) -> float | None:
        """Seconds from now at the pace since then; None while that is not known."""
        left, span = self.seconds_left(), _span(since)
        if left is None or not span:
            return None
        mean = sum(self._prices.values()) / len(self._prices)
        spent = sum(float(row["device_seconds"] or 0.0) for row in self._rows_since(since))
        spent += sum(
            self._prices.get(pack.teacher, mean) * self._work(pack.teacher, pack.steps or 0) * pack.num_members
            for pack in self.running
        )
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

    def _rows_since(self, since: datetime | None) -> list[Mapping[str, Any]]:
        known = [row for row in self.rows.values() if row["finished_at"] is not None]
        return [row for row in known if since is None or row["finished_at"] >= since]

    def _work(self, teacher: str | None, steps: int) -> float:
        """Multiply-accumulates of a member for an image a step: its own, and its part of the teacher's."""
        return steps * (_BACKWARD * self._student_macs + self._macs.get(teacher or "", 0) / self._mates[teacher])

    @cached_property
    def _student_macs(self) -> int:
        return count(self.config.student, data_shape(self.config.data)).macs

    @cached_property
    def _macs(self) -> dict[str, int]:
        return {spec.name: count(spec.model, data_shape(self.config.data)).macs for spec in self.config.teachers}

    @cached_property
    def _mates(self) -> dict[str | None, float]:
        """How many members share a teacher's pass, by teacher."""
        names: list[str | None] = [None, *self._macs]
        groups = {name: [member.seed for member in self.members.values() if _teacher(member) == name] for name in names}
        return {name: max(1.0, len(seeds) / max(1, len(set(seeds)))) for name, seeds in groups.items()}

    @cached_property
    def _prices(self) -> dict[str | None, float]:
        """Device-seconds a multiply-accumulate of the finished members, by teacher."""
        seconds: dict[str | None, float] = {}
        work: dict[str | None, float] = {}
        for run_id, row in self.rows.items():
            if run_id in self.members and row["device_seconds"]:
                name = row["teacher"]
                seconds[name] = seconds.get(name, 0.0) + row["device_seconds"]
                work[name] = work.get(name, 0.0) + self._work(name, row["steps"])
        return {name: seconds[name] / work[name] for name in seconds if work[name] > 0}


def _teacher(member: Member) -> str | None:
    return member.teacher.name if member.teacher else None


def _span(since: datetime | None) -> float:
    return 0.0 if since is None else (datetime.now(UTC) - since).total_seconds()

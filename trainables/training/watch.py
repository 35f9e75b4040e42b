"""What can be seen of a training while it runs. Who wants to see it hands a callable in; the engine knows no more."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from trainables.specs import Member
from trainables.training.moments import Moment, moment
from trainables.training.trainee import Trainee


@dataclass(frozen=True)
class MemberSight:
    """A member since the last look: the steps it took, and the newest point of its curve."""

    member: Member
    num_steps: int
    point: Mapping[str, float | int]


@dataclass(frozen=True)
class Sight:
    """A training in one process since the last look: its members, its wall seconds, and those of teacher passes."""

    members: Sequence[MemberSight]
    seconds: float
    teacher_seconds: float


class Watch:
    """Shows a training to show(sight), at most once an interval and at its end; without one it only counts.

    A look takes nothing from the device that was not there already: losses are those of the curve.
    """

    def __init__(self, show: Callable[[Sight], None] | None = None, interval_seconds: float = 1.0) -> None:
        self._show, self._interval = show, interval_seconds
        self._steps: Counter[str] = Counter()  # by train_id
        self._passes: list[tuple[Moment, Moment]] = []
        self._last: float | None = None
        self.num_member_steps = self.num_passes = 0  # since `begin`; passes of the teacher, if there is one
        self.seconds = self._begun = 0.0

    def begin(self) -> None:
        """Training starts now."""
        self._steps.clear()
        self._passes.clear()
        self.num_member_steps = self.num_passes = 0
        self.seconds, self._begun = 0.0, time.perf_counter()
        self._last = time.monotonic()

    @contextmanager
    def teacher_pass(self, device: torch.device) -> Iterator[None]:
        """The block is a pass of the teacher."""
        self.num_passes += 1
        if self._show is None:
            yield
            return
        started = moment(device)
        yield
        self._passes.append((started, moment(device)))

    def took_step(self, trainees: Sequence[Trainee]) -> None:
        """The trainees took a step, and the device has finished it."""
        self.num_member_steps += len(trainees)
        self.seconds = time.perf_counter() - self._begun
        if self._show is not None:
            self._steps.update(trainee.member.train_id for trainee in trainees)
            if self._last is None or time.monotonic() - self._last >= self._interval:
                self.look(trainees)

    def look(self, trainees: Sequence[Trainee]) -> None:
        """Shows what was not shown yet."""
        if self._show is None or not self._steps:
            return
        now = time.monotonic()
        members = [
            MemberSight(trainee.member, self._steps[trainee.member.train_id], trainee.curve[-1])
            for trainee in trainees
            if trainee.curve and self._steps[trainee.member.train_id]
        ]
        self._show(
            Sight(members, now - (self._last or now), sum(start.seconds_until(end) for start, end in self._passes))
        )
        self._steps.clear()
        self._passes.clear()
        self._last = now

"""The checkpoints of a training: when it is time for one, and the thread that writes it while training goes on."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch

from trainables.data.streams import Stream
from trainables.ranks import Ranks
from trainables.training.checkpoints import Checkpoints, Snapshot, checkpoint_path, snapshot
from trainables.training.trainee import Trainee

MOST_SHARE = 0.02  # of the time that goes into checkpoints


class Timetable:
    """Says after which steps a checkpoint is due: every `every_seconds`, or as often as 2% of the time allows.

    Ranks must do the same after the same step, so rank 0 decides for all. It looks at the clock half of the way to the
    next checkpoint, and half of what is left then, so that ranks need not talk at every step. 0: after every step.
    """

    def __init__(
        self,
        every_seconds: float,
        ranks: Ranks,
        device: torch.device,
        first_step: int = 0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every, self._ranks, self._device, self._now = every_seconds, ranks, device, now
        self._begun = self._last = now()
        self._last_step, self._next_look = first_step, first_step + 1
        self._spent = self._newest_cost = 0.0

    def is_due(self, steps: int) -> bool:
        """Whether to write one now, after so many steps."""
        if steps < self._next_look:
            return False
        ahead = self._ranks.from_first(self._steps_ahead(steps), self._device)
        self._next_look = steps + max(1, ahead)
        if ahead == 0:
            self._last, self._last_step = self._now(), steps
        return ahead == 0

    def cost(self, seconds: float) -> None:
        """What the newest checkpoint took, the thread's part with it; for rank 0."""
        self._newest_cost = seconds
        self._spent += seconds

    def _steps_ahead(self, steps: int) -> int:
        """After how many more steps to look again; 0: one is due."""
        if self._every == 0:
            return 0
        now, taken = self._now(), steps - self._last_step
        affordable = self._begun + (self._spent + self._newest_cost) / MOST_SHARE
        left = max(self._last + self._every, affordable) - now
        if left <= 0:
            return 0
        half = left / 2 * taken / max(now - self._last, 1e-9)
        return max(1, min(taken, int(half)))


class Saving:
    """Checkpoints of the trainees, written by a thread of rank 0; at most one at a time.

    A context: at its end no thread writes any more. What fails in the thread is raised by the next call.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        trainees: Sequence[Trainee],
        streams: Sequence[Stream],
        ranks: Ranks,
        first_step: int,
    ) -> None:
        self._checkpoints, self._trainees, self._streams, self._ranks = checkpoints, trainees, streams, ranks
        every = checkpoints.every_seconds
        self._times = None if every is None else Timetable(every, ranks, trainees[0].device, first_step)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._unreported: int | None = None  # steps of a checkpoint that `written` was not told of
        self._writing: Future[float] | None = None  # -> seconds that the thread took; in rank 0
        self._copying = 0.0

    def after(self, steps: int, seconds: Mapping[str, float]) -> None:
        """Keeps the state after so many steps, where it is time to. seconds: that each trainee has used."""
        if self._times is None:
            return
        if self._ranks.rank == 0 and self._writing is not None and self._writing.done():
            self._join()
        if not self._times.is_due(steps):
            return
        self.finish()
        self._unreported = steps
        if self._ranks.rank == 0:
            started = time.monotonic()
            state = snapshot(self._trainees, self._streams, seconds, steps=steps, ranks=self._ranks)
            self._copying = time.monotonic() - started
            self._writing = self._thread.submit(_timed, self._checkpoints.keep, state)

    def finish(self) -> None:
        """Waits for the thread, and tells every rank of what it wrote."""
        self._join()
        if self._unreported is not None:
            steps, self._unreported = self._unreported, None
            self._checkpoints.written(checkpoint_path(self._checkpoints.folder, steps), steps)

    def __enter__(self) -> "Saving":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def _join(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            assert self._times is not None
            self._times.cost(self._copying + writing.result())


def _timed(keep: Callable[[Snapshot], None], state: Snapshot) -> float:
    started = time.monotonic()
    keep(state)
    return time.monotonic() - started

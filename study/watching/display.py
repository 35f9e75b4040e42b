"""How far a sweep is, in one line: a bar on a terminal, elsewhere (a log, a job) a line a minute, both on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0
_SECONDS_OF_PACE = 5.0  # before them a pace says nothing
_BAR = "{percentage:3.0f}%|{bar}| {desc}"
STARTING = "starting workers"


class Display:
    """Shows what is done of `total`. seconds: what all of it takes by the study's throughput, where that is known."""

    def __init__(
        self, total: int, seconds: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._seconds, self._clock = max(1, total), seconds, clock
        self._started = clock()
        self._first: tuple[float, int] | None = None  # when something was first done, and what
        self._bar = tqdm(total=self._total, bar_format=_BAR) if sys.stderr.isatty() else None
        self._next_line = self._started
        self._last = (0, "")

    def show(self, done: int, remark: str) -> None:
        """done: of the total; the remark says it in packs and members."""
        done = min(done, self._total)
        self._last = (done, remark)
        if self._first is None and done > 0:
            self._first = (self._clock(), done)
        if self._bar is not None:
            self._bar.n, self._bar.ncols = done, shutil.get_terminal_size().columns
            self._bar.set_description_str(self._text(done, remark), refresh=True)
        elif self._clock() >= self._next_line:
            self._next_line = self._clock() + SECONDS_BETWEEN_LINES
            self._print()

    def write(self, line: str) -> None:
        """A line of its own, above the bar."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves what was shown last."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._print()

    def seconds_left(self, done: int) -> float | None:
        """At the pace since something was first done; before there is one, by the study's throughput; else None."""
        now = self._clock()
        if self._first is not None:
            since, begun = self._first
            if done > begun and now - since >= _SECONDS_OF_PACE:
                return (self._total - done) * (now - since) / (done - begun)
        if done >= self._total:
            return 0.0
        return None if self._seconds is None else max(0.0, self._seconds - (now - self._started))

    def _text(self, done: int, remark: str) -> str:
        left = self.seconds_left(done)
        took = tqdm.format_interval(self._clock() - self._started)
        times = f"[{took}<{'?' if left is None else tqdm.format_interval(left)}]"
        return f"{remark} {times}" if done else f"{STARTING} {times} {remark}"

    def _print(self) -> None:
        done, remark = self._last
        print(f"{100 * done // self._total:3d}% {self._text(done, remark)}", file=sys.stderr, flush=True)

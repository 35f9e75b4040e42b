"""Moments of a training, and what of its time each member takes.

A GPU works on while Python goes ahead, so there a moment is an event in its own queue, known once the GPU has passed
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch


class Moment(Protocol):
    """A point of time of a device."""

    @property
    def is_past(self) -> bool:
        """Whether the device has come to it."""

    def seconds_until(self, later: Any) -> float:
        """From this moment to a later one of the same kind, both past."""


@dataclass(frozen=True)
class _Instant:
    """Of Python's own clock."""

    seconds: float
    is_past: bool = True

    def seconds_until(self, later: _Instant) -> float:
        return later.seconds - self.seconds


@dataclass(frozen=True)
class _InQueue:
    """Of a GPU's queue."""

    event: torch.cuda.Event

    @property
    def is_past(self) -> bool:
        return bool(self.event.query())  # type: ignore[no-untyped-call]

    def seconds_until(self, later: _InQueue) -> float:
        return float(self.event.elapsed_time(later.event)) / 1000.0


def moment(device: torch.device) -> Moment:
    """Now: when Python comes to it, or the GPU to the end of what it was given so far."""
    if device.type != "cuda":
        return _Instant(time.perf_counter())
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return _InQueue(event)


class Shares:
    """Adds to `seconds`, by train_id, what blocks of work took; a block of several members counts in equal parts."""

    def __init__(self, seconds: MutableMapping[str, float], now: Callable[[], Moment]) -> None:
        self.seconds, self._now = seconds, now
        self._open: list[tuple[Moment, Moment, Sequence[str]]] = []

    @contextmanager
    def of(self, *train_ids: str) -> Iterator[None]:
        """The block is work of these members."""
        started = self._now()
        yield
        self._open.append((started, self._now(), train_ids))

    def settle(self) -> None:
        """Counts the blocks that the device has finished; without waiting for any."""
        while self._open and self._open[0][1].is_past:
            started, ended, train_ids = self._open.pop(0)
            for train_id in train_ids:
                self.seconds[train_id] += started.seconds_until(ended) / len(train_ids)

"""Timing things against each other: warm-up, then repeats that take turns, so that a noisy machine is fair to all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Options:
    """What every benchmark is given. `device`: where the models run."""

    device: torch.device
    repeats: int


@dataclass(frozen=True)
class Result:
    """rows: a table, one mapping a row. values: the figures that a script reads, by name."""

    rows: Sequence[Mapping[str, Any]]
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Times:
    """Seconds of every repeat."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]  # of this process, all threads

    @property
    def seconds(self) -> float:
        return statistics.median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        return statistics.median(self.cpu)

    def over(self, other: Times) -> float:
        """How many times as long as the other this takes: the median over repeats, each against its neighbour."""
        return statistics.median(mine / its for mine, its in zip(self.wall, other.wall, strict=True))


def take_turns(
    runs: Mapping[str, Callable[[], object]],
    options: Options,
    *,
    repeats: int | None = None,
    inner: int = 1,
    warm_up: bool = True,
) -> dict[str, Times]:
    """Runs each once to warm up, then all of them in turn; one repeat calls a run `inner` times. Times of one call."""
    for run in runs.values() if warm_up else ():
        _timed(run, 1, options.device)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats or options.repeats):
        for name, run in runs.items():
            taken[name].append(_timed(run, inner, options.device))
    return {name: Times(*(tuple(column) for column in zip(*pairs, strict=True))) for name, pairs in taken.items()}


def _timed(run: Callable[[], object], inner: int, device: torch.device) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(inner):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - wall) / inner, (time.process_time() - cpu) / inner

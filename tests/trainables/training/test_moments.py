"""Each member pays for its own work, on devices that finish it later, too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from trainables.training.moments import Moment, Shares, moment


@dataclass
class Later:
    """A moment of a device that works on while Python goes ahead."""

    seconds: float
    reached: set[float]

    @property
    def is_past(self) -> bool:
        return self.seconds in self.reached

    def seconds_until(self, later: Later) -> float:
        assert self.is_past
        assert later.is_past
        return later.seconds - self.seconds


def test_only_what_the_device_has_finished_is_counted_and_each_block_once() -> None:
    reached: set[float] = set()
    clock: Iterator[float] = iter([0.0, 3.0, 3.0, 4.0, 4.0, 14.0])
    shares = Shares({"a": 0.0, "b": 100.0}, lambda: Later(next(clock), reached))
    with shares.of("a", "b"):  # the teacher's pass, 3 seconds of the device
        pass
    with shares.of("a"):
        pass
    with shares.of("b"):
        pass
    shares.settle()
    assert shares.seconds == {"a": 0.0, "b": 100.0}
    reached |= {0.0, 3.0, 4.0}
    shares.settle()
    shares.settle()
    assert shares.seconds == {"a": 1.5 + 1.0, "b": 101.5}
    reached.add(14.0)
    shares.settle()
    assert shares.seconds == {"a": 2.5, "b": 111.5}


def test_on_a_cpu_a_moment_is_past_at_once() -> None:
    shares = Shares({"slow": 0.0, "quick": 0.0}, lambda: moment(torch.device("cpu")))
    with shares.of("slow"):
        time.sleep(0.05)
    with shares.of("quick"):
        pass
    shares.settle()
    assert shares.seconds["slow"] >= 0.05 > shares.seconds["quick"]
    assert sum(shares.seconds.values()) >= 0.05


def test_a_block_that_fails_is_nobodys() -> None:
    shares = Shares({"a": 0.0}, lambda: moment(torch.device("cpu")))
    with pytest.raises(KeyError), shares.of("a"):
        raise KeyError
    shares.settle()
    assert shares.seconds == {"a": 0.0}


def test_on_a_gpu_moments_are_events_of_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing
            self.queue: object = None

        def record(self, queue: object) -> None:
            self.queue = queue

        def query(self) -> bool:
            return self.queue == "queue of cuda:1"

        def elapsed_time(self, other: Event) -> float:
            assert isinstance(other, Event)
            return 250.0  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"queue of {device}")
    one: Moment = moment(torch.device("cuda:1"))
    assert one.is_past
    assert one.seconds_until(moment(torch.device("cuda:1"))) == 0.25

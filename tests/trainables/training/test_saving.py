"""When a checkpoint is due, and that training goes on while it is written."""

import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainables.ranks import Ranks
from trainables.training.checkpoints import Checkpoints, Snapshot, is_complete
from trainables.training.saving import MOST_SHARE, Saving, Timetable

CPU = torch.device("cpu")


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Looks(Ranks):
    """One rank of two; counts how often they talk. It says what rank 0 said, where it is not rank 0."""

    said: list[int]

    def from_first(self, value: int, device: torch.device) -> int:
        self.said.append(value)
        return value


def due_at(every: float, step_seconds: float, num_steps: int, cost: float = 0.0) -> tuple[list[int], int]:
    """After which steps a checkpoint was due, and how often ranks talked; a checkpoint stops the clock's owner, too."""
    clock, ranks = Clock(), Looks(0, 2)
    object.__setattr__(ranks, "said", [])
    times, found = Timetable(every, ranks, CPU, now=clock), []
    for step in range(1, num_steps + 1):
        clock.seconds += step_seconds
        if times.is_due(step):
            found.append(step)
            times.cost(cost)
    return found, len(ranks.said)


def test_one_is_due_every_so_many_seconds() -> None:
    found, num_looks = due_at(600.0, 0.5, 6000)
    assert found == [1200, 2400, 3600, 4800, 6000]
    assert num_looks < 120  # of 6000 steps: ranks do not talk at every one


def test_one_is_due_at_once_where_a_step_takes_longer() -> None:
    assert due_at(600.0, 700.0, 3)[0] == [1, 2, 3]


def test_zero_is_after_every_step_whatever_it_costs() -> None:
    assert due_at(0.0, 0.001, 5, cost=50.0)[0] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("cost", [3.0, 12.0, 40.0])
def test_no_more_than_two_percent_of_the_time_goes_into_them(cost: float) -> None:
    found, _ = due_at(60.0, 1.0, 20_000, cost=cost)
    assert found[0] == 60  # nothing is known of the first
    assert len(found) > 2
    for number, step in enumerate(found[1:], 2):
        assert number * cost <= MOST_SHARE * step * 1.0001
    assert len(found) * cost > 0.9 * MOST_SHARE * (found[-1])  # nor much less


def test_a_slower_pace_is_noticed() -> None:
    clock, ranks = Clock(), Looks(0, 1)
    object.__setattr__(ranks, "said", [])
    times, found = Timetable(600.0, ranks, CPU, now=clock), []
    for step in range(1, 1000):
        clock.seconds += 1.0 if step < 300 else 2.0
        if times.is_due(step):
            found.append(clock.seconds - 100.0)
    assert found[0] < 700.0
    assert max(later - earlier for earlier, later in pairwise(found)) < 700.0


def test_ranks_do_what_the_first_one_says() -> None:
    class Told(Ranks):
        def from_first(self, value: int, device: torch.device) -> int:
            return 0

    assert Timetable(1e9, Told(1, 2), CPU).is_due(1)


def trainee(tensor: torch.Tensor) -> Any:
    return SimpleNamespace(
        member=SimpleNamespace(train_id="t" * 16, run_id="r" * 16),
        device=CPU,
        fused=False,
        tensors=lambda: {"parameters": tensor},
        marks=lambda: {"curve": []},
    )


class Slow(Checkpoints):
    """Writes when it is let."""

    let = threading.Event()

    def keep(self, snapshot: Snapshot) -> None:
        assert self.let.wait(timeout=60)
        super().keep(snapshot)


def test_training_goes_on_while_the_state_is_written(tmp_path: Path) -> None:
    told: list[int] = []
    checkpoints = Slow(tmp_path / "pack", 0.0, lambda _path, steps: told.append(steps))
    tensor = torch.zeros(3)
    with Saving(checkpoints, [trainee(tensor)], [], Ranks(), 0) as saving:
        saving.after(1, {"t" * 16: 1.0})
        assert not list(tmp_path.glob("pack/step-*"))
        assert told == []
        tensor += 1  # the next step changes what is being written
        checkpoints.let.set()
        saving.finish()
    assert told == [1]
    other = trainee(torch.zeros(3))
    other.restore = lambda tensors, marks: setattr(other, "found", tensors["parameters"])
    assert is_complete(tmp_path / "pack" / "step-00000001")
    assert checkpoints.restore([other], [], Ranks()) == (1, {"t" * 16: 1.0})
    assert other.found.tolist() == [0.0, 0.0, 0.0]


def test_what_fails_in_the_thread_is_raised_in_the_training(tmp_path: Path) -> None:
    class Full(Checkpoints):
        def keep(self, snapshot: Snapshot) -> None:
            raise OSError(28, "No space left on device")

    told: list[int] = []
    with Saving(
        Full(tmp_path, 0.0, lambda _path, steps: told.append(steps)), [trainee(torch.zeros(3))], [], Ranks(), 0
    ) as one:
        one.after(1, {"t" * 16: 0.0})
        with pytest.raises(OSError, match="No space left"):
            one.after(2, {"t" * 16: 0.0})
    assert told == []


def test_a_block_that_fails_leaves_no_thread_and_tells_nobody(tmp_path: Path) -> None:
    before, told = set(threading.enumerate()), []
    checkpoints = Checkpoints(tmp_path / "pack", 0.0, lambda _path, steps: told.append(steps))
    with suppress(KeyboardInterrupt), Saving(checkpoints, [trainee(torch.zeros(3))], [], Ranks(), 0) as saving:
        saving.after(1, {"t" * 16: 0.0})
        raise KeyboardInterrupt
    assert set(threading.enumerate()) == before
    assert told == []  # the other ranks may not be there
    assert is_complete(tmp_path / "pack" / "step-00000001")

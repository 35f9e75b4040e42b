"""What is called at intervals takes a small share of a core, and ends with its block."""

import threading

import pytest

from study.watching import periodic as module
from study.watching.periodic import called_every

PATIENCE = 30.0


def test_it_looks_again_and_again_until_the_block_ends() -> None:
    looks = threading.Semaphore(0)
    with called_every(0.001, looks.release):
        assert all(looks.acquire(timeout=PATIENCE) for _ in range(3))


def test_a_look_that_takes_much_is_followed_by_a_long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of CPU time a look: there is no second one while this test lasts."""
    ticks = iter(range(0, 10**9, 3600))
    monkeypatch.setattr(module.time, "thread_time", lambda: next(ticks))
    looks: list[None] = []
    looked = threading.Event()

    def look() -> None:
        looks.append(None)
        looked.set()

    with called_every(0.001, look):
        assert looked.wait(PATIENCE)
        assert not threading.Event().wait(0.2)
    assert len(looks) == 1


def test_an_error_in_the_block_is_passed_on_and_the_calls_end() -> None:
    looks = threading.Semaphore(0)

    def fail() -> None:
        with called_every(0.001, looks.release):
            assert looks.acquire(timeout=PATIENCE)
            raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        fail()
    while looks.acquire(blocking=False):
        pass
    assert not looks.acquire(timeout=0.1)

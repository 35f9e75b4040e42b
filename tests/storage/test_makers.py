"""A file is made by one process while the others wait, also where they cannot see each other's locks."""

import multiprocessing
import time
from contextlib import nullcontext
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from storage import makers, new_file, one_maker

BEATS = {"beat_seconds": 0.05, "stale_seconds": 0.5}


def make(path: Path, seconds: float, *, elsewhere: bool) -> None:
    """elsewhere: as on another machine, whose locks are others."""
    if elsewhere:
        makers.locked = lambda _path: nullcontext()
    with one_maker(path, path.exists, **BEATS) as missing:
        if missing:
            with path.with_name("made").open("a") as log:
                log.write("x")
            time.sleep(seconds)
            with new_file(path) as file:
                file.write(b"content")
    assert path.exists()


def claim_and_stand_still(path: Path, claimed: Event) -> None:
    makers.locked = lambda _path: nullcontext()
    with one_maker(path, path.exists, **BEATS):
        claimed.set()
        time.sleep(60)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_of_several_processes_one_makes_it(elsewhere: bool, tmp_path: Path) -> None:
    path, context = tmp_path / "it", multiprocessing.get_context("fork")
    group = [context.Process(target=make, args=(path, 0.8), kwargs={"elsewhere": elsewhere}) for _ in range(3)]
    for process in group:
        process.start()
    for process in group:
        process.join(20)
    assert [process.exitcode for process in group] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "x"
    assert sorted(other.name for other in tmp_path.iterdir()) == ["it", "made"]


def test_the_next_one_makes_what_a_killed_one_began(tmp_path: Path) -> None:
    path, context = tmp_path / "it", multiprocessing.get_context("fork")
    claimed = context.Event()
    process = context.Process(target=claim_and_stand_still, args=(path, claimed))
    process.start()
    assert claimed.wait(20)
    process.kill()
    process.join()
    assert (tmp_path / ".it.making").exists()
    make(path, 0, elsewhere=False)
    assert sorted(other.name for other in tmp_path.iterdir()) == ["it", "made"]


def test_the_next_one_makes_what_another_failed_at(tmp_path: Path) -> None:
    path = tmp_path / "it"
    with pytest.raises(RuntimeError, match="no"), one_maker(path, path.exists, **BEATS):
        raise RuntimeError("no")
    make(path, 0, elsewhere=False)
    assert (tmp_path / "made").read_text() == "x"

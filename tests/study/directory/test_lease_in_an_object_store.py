"""The lease where nothing can be renamed or made exclusively: one sweep at a time there too."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from storage import location, new_file, overwrite
from study.directory import lease as module
from study.directory.claim import MARKER
from study.directory.lease import LostLeaseError, lease

FOREIGN = "sweep-0123456789abcdef.lease"


@pytest.fixture
def study_dir(bucket: str, tmp_path: Path) -> Path:
    return location("study_dir", f"{bucket}/leases/{tmp_path.name}")


def write_foreign(study_dir: Path, **facts: object) -> None:
    other = {"host": "elsewhere", "pid": 1, "process": "another-boot pid:[1] 1", "since": "then"}
    with new_file(study_dir / FOREIGN) as file:
        file.write(json.dumps({**other, **facts}).encode())


def test_the_second_says_who_is_first_and_nothing_is_left(study_dir: Path) -> None:
    said = rf"is in use.*pid {os.getpid()}, 0 members"
    with lease(study_dir, beat_seconds=0.05), pytest.raises(ValueError, match=said), lease(study_dir):
        raise AssertionError("two at once")
    assert not list(study_dir.glob("*"))


def test_a_lease_without_beats_is_taken_over_after_watching(study_dir: Path) -> None:
    write_foreign(study_dir)
    started = time.monotonic()
    with lease(study_dir, stale_seconds=0.5):
        assert time.monotonic() - started >= 0.5
        (taken,) = study_dir.glob("sweep-*.lease")
        assert json.loads(taken.read_text())["pid"] == os.getpid()
    assert not list(study_dir.glob("*"))


def test_a_lease_of_another_machine_holds_while_it_beats(study_dir: Path) -> None:
    write_foreign(study_dir, beat=0)
    threading.Timer(0.5, write_foreign, [study_dir], {"beat": 1}).start()
    with pytest.raises(ValueError, match=r"since then \(host elsewhere, pid 1"), lease(study_dir, stale_seconds=60):
        raise AssertionError("two at once")


def test_who_was_taken_over_in_the_middle_of_a_beat_gives_way(study_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its PUT makes the lease again that the other has just removed; so it looks for others, and removes it."""
    began = threading.Event()

    def slow(path: Path, content: bytes) -> None:
        if not began.is_set():
            write_foreign(study_dir)
            time.sleep(0.6)
            began.set()
        overwrite(path, content)

    monkeypatch.setattr(module, "overwrite", slow)

    def hold() -> None:
        with lease(study_dir, beat_seconds=0.05, stale_seconds=0.5):
            time.sleep(30)

    with pytest.raises(LostLeaseError, match="taken over"):
        hold()
    assert {path.name for path in study_dir.glob("*")} == {FOREIGN, MARKER}

"""Two sweeps on one study directory: one runs, the other says so; a lease that nobody renews is taken over."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.records.rows import finished_run_ids
from study.directory import lease as module
from study.directory.claim import MARKER, claim, require_claimable
from study.directory.lease import LostLeaseError, ask_to_stop, is_held, lease

FOREIGN = "sweep-0123456789abcdef.lease"
HOLD = "import sys, time, pathlib; from study.directory.lease import lease\nwith lease(pathlib.Path(sys.argv[1])): {}"


def test_the_second_says_who_is_first(tmp_path: Path) -> None:
    with lease(tmp_path, beat_seconds=0.05):
        host = os.uname().nodename
        said = rf"is in use.*since .* \(host {host}, pid {os.getpid()}, 0 members"
        with pytest.raises(ValueError, match=said), lease(tmp_path):
            raise AssertionError("two at once")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with lease(tmp_path / "deep" / "study"):
        assert list((tmp_path / "deep" / "study").glob("sweep-*.lease"))
    assert not list(tmp_path.iterdir())


def test_what_was_put_into_it_stays(tmp_path: Path) -> None:
    with lease(tmp_path / "study"):
        (tmp_path / "study" / "file").touch()
    assert {path.name for path in (tmp_path / "study").iterdir()} == {"file", MARKER}


def test_the_lease_of_a_killed_sweep_is_taken_over_at_once(tmp_path: Path) -> None:
    killed = HOLD.format("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False, timeout=60)
    assert list(tmp_path.glob("sweep-*.lease"))
    started = time.monotonic()
    with lease(tmp_path):
        assert time.monotonic() - started < 5


def write_foreign(study_dir: Path, **facts: object) -> None:
    other = {"host": "elsewhere", "pid": 1, "process": "another-boot pid:[1] 1", "since": "then"}
    (study_dir / FOREIGN).write_text(json.dumps({**other, **facts}))


@pytest.mark.parametrize("content", [None, "", "{", "[]", "\0" * 100])
def test_a_lease_without_beats_is_taken_over_after_watching(content: str | None, tmp_path: Path) -> None:
    write_foreign(tmp_path)
    if content is not None:
        (tmp_path / FOREIGN).write_text(content)
    started = time.monotonic()
    with lease(tmp_path, stale_seconds=0.3):
        assert time.monotonic() - started >= 0.3
        (taken,) = tmp_path.glob("sweep-*.lease")
        assert json.loads(taken.read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_lease_of_another_machine_holds_while_it_beats(tmp_path: Path) -> None:
    write_foreign(tmp_path, beat=0)
    threading.Timer(0.5, write_foreign, [tmp_path], {"beat": 1}).start()
    with pytest.raises(ValueError, match=r"since then \(host elsewhere, pid 1"), lease(tmp_path, stale_seconds=30):
        raise AssertionError("two at once")


def stand_still(study_dir: Path) -> None:
    (own,) = study_dir.glob("sweep-*.lease")
    write_foreign(study_dir)
    own.unlink()
    time.sleep(10)


def test_who_stood_still_is_interrupted(tmp_path: Path) -> None:
    with pytest.raises(LostLeaseError, match="taken over"), lease(tmp_path, beat_seconds=0.05):
        stand_still(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {FOREIGN, MARKER}


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_at_once_one_wins(stale: bool, tmp_path: Path) -> None:
    if stale:
        write_foreign(tmp_path)
    inside, most, refused = [], [], []

    def hold() -> None:
        try:
            with lease(tmp_path, beat_seconds=0.05, stale_seconds=2.0):
                inside.append(1)
                most.append(len(inside))
                time.sleep(2.5)
                inside.pop()
        except ValueError:
            refused.append(1)

    threads = [threading.Thread(target=hold) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(refused) == 5


@pytest.mark.full
@pytest.mark.parametrize("module", ["study.sweep", "study.teachers"])
def test_a_second_process_ends_with_exit_code_2_and_one_line(module: str, tmp_path: Path) -> None:
    with lease(tmp_path):
        command = [sys.executable, "-m", module, f"study_dir={tmp_path}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: study_dir={tmp_path} is in use")
    assert result.stderr.count("\n") == 1
    assert not finished_run_ids(tmp_path)
    assert not list(tmp_path.iterdir())


def test_who_holds_it_is_stopped_from_outside(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def hold() -> None:
        with lease(tmp_path, beat_seconds=0.05):
            assert is_held(tmp_path)
            ask_to_stop(tmp_path)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        hold()
    assert "stopped by study.cancel" in capfd.readouterr().err
    assert not is_held(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "is not there any more"),
        (lambda folder: [path.unlink() for path in folder.glob("*.lease")], "was removed by another program"),
    ],
)
def test_a_lost_lease_is_not_called_a_take_over_where_it_is_none(
    harm: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    def hold() -> None:
        with lease(tmp_path / "study", beat_seconds=0.05):
            harm(tmp_path / "study")
            time.sleep(10)

    with pytest.raises(LostLeaseError, match=said) as lost:
        hold()
    assert "taken over" not in str(lost.value)


def refused(*_: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_an_error_in_a_directory_that_cannot_be_written_is_not_the_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        with lease(tmp_path):
            monkeypatch.setattr(module, "overwrite", refused)
            raise PermissionError("of a row")

    with pytest.raises(LostLeaseError, match=f"{tmp_path} cannot be written any more: {os.strerror(errno.EROFS)}"):
        work()


def test_other_errors_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="of other files"), lease(tmp_path):
        raise PermissionError("of other files")


def test_a_removed_study_that_workers_wrote_on_can_be_begun_again(tmp_path: Path) -> None:
    def remove(study_dir: Path, *made_anew: str) -> None:
        with lease(study_dir, beat_seconds=0.05):
            shutil.rmtree(study_dir)
            for name in made_anew:
                (study_dir / name).mkdir(parents=True)
            time.sleep(10)

    pack = f"checkpoints/{'a' * 16}"
    for folder, names in (("study", [pack, "records"]), ("foreign", [pack, "photos"]), ("other", ["checkpoints/best"])):
        with pytest.raises(LostLeaseError):
            remove(tmp_path / folder, *names)
    require_claimable(tmp_path / "study")
    for folder in ("foreign", "other"):
        with pytest.raises(ValueError, match="nothing in it was touched"):
            require_claimable(tmp_path / folder)


def test_a_directory_that_cannot_be_written_any_more_stops_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold() -> None:
        with lease(tmp_path, beat_seconds=0.05, stale_seconds=0.3):
            monkeypatch.setattr(module, "overwrite", refused)
            time.sleep(10)

    with pytest.raises(LostLeaseError, match=f"{tmp_path} cannot be written since 0.3 s: {os.strerror(errno.EROFS)}"):
        hold()


def test_stale_requests_to_stop_are_removed(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "sweep-00112233aabbccdd.cancel").touch()
    (tmp_path / "sweep-notes.cancel").touch()
    with lease(tmp_path):
        assert [path.name for path in tmp_path.glob("*.cancel")] == ["sweep-notes.cancel"]

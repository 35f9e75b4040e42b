"""Logs are whole JSON lines, whoever writes at the same time; they are bounded and hold no credentials."""

import multiprocessing
from pathlib import Path

import pytest

from study.watching import events as logs
from study.watching.events import EventLog, log_dir, logged_sweep, read_events, remove_old_logs


def write_many(folder: Path, number: int) -> None:
    for index in range(20):
        EventLog(folder, "worker")("pack_started", pack_id=f"{number}-{index}")


def test_several_writers_lose_and_tear_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(log_dir(tmp_path), number)) for number in range(2)]
    for writer in writers:
        writer.start()
    write_many(log_dir(tmp_path), 2)
    for writer in writers:
        writer.join()
    events = read_events(tmp_path)
    assert {event["pack_id"] for event in events} == {f"{number}-{index}" for number in range(3) for index in range(20)}
    assert len(events) == 60
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert len(list(log_dir(tmp_path).iterdir())) == 3


def test_a_file_is_bounded_and_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 10_000)
    log = EventLog(log_dir(tmp_path), "sweep")
    for index in range(1000):
        log("tick", index=index)
    assert sum(path.stat().st_size for path in log_dir(tmp_path).iterdir()) <= 2 * 10_000
    kept = [event["index"] for event in read_events(tmp_path)]
    assert kept == list(range(1000 - len(kept), 1000))
    assert len(kept) > 100


def test_a_line_is_appended_and_nothing_is_written_again(tmp_path: Path) -> None:
    log = EventLog(log_dir(tmp_path), "sweep")
    log("first")
    (path,) = log_dir(tmp_path).iterdir()
    inode = path.stat().st_ino
    log("second")
    assert path.stat().st_ino == inode
    assert [event["event"] for event in read_events(tmp_path)] == ["first", "second"]


def test_only_the_newest_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_FILES", 2)
    log_dir(tmp_path).mkdir()
    for name in ("20260101T000000-sweep-host-1", "20260103T000000-sweep-host-1", "20260102T000000-sweep-host-1"):
        (log_dir(tmp_path) / f"{name}.jsonl").write_text("{}\n")
    remove_old_logs(tmp_path)
    assert sorted(path.name[:8] for path in log_dir(tmp_path).iterdir()) == ["20260102", "20260103"]


def test_values_are_cut_to_size_and_without_credentials(tmp_path: Path) -> None:
    EventLog(log_dir(tmp_path), "worker")(
        "member_failed", error="cannot read s3://key:secret@store/bucket" + "x" * 10_000, fid=float("nan"), seeds=(1, 2)
    )
    (event,) = read_events(tmp_path)
    assert event["error"].startswith("cannot read s3://***@store/bucket")
    assert len(event["error"]) < 2100
    assert (event["fid"], event["seeds"]) == (None, [1, 2])


def test_a_sweep_says_how_it_ended(tmp_path: Path) -> None:
    with logged_sweep(tmp_path, study="digits"):
        pass
    for error in (RuntimeError("no space"), KeyboardInterrupt()):
        with pytest.raises(type(error)), logged_sweep(tmp_path, study="digits"):
            raise error
    events = read_events(tmp_path)
    assert [event["event"] for event in events] == ["sweep_started", "sweep_ended"] * 3
    assert [event["outcome"] for event in events[1::2]] == ["done", "failed", "interrupted"]
    assert events[3]["error"] == "no space"


def test_broken_lines_are_passed_over(tmp_path: Path) -> None:
    EventLog(log_dir(tmp_path), "sweep")("sweep_started")
    (path,) = log_dir(tmp_path).iterdir()
    path.write_text(path.read_text() + '{"event": "cut o\n[]\n{"time": 1, "event": "no time"}\n')
    (log_dir(tmp_path) / "other.jsonl").write_bytes(b"\xff\xfe")
    assert [event["event"] for event in read_events(tmp_path)] == ["sweep_started"]


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("in the way")
    for _ in range(2):
        EventLog(tmp_path / "logs", "sweep")("sweep_started")
    assert capsys.readouterr().err.count("no log is written") == 1

"""What the strikes are judged by: foreign files that changed, sentences, exit codes and processes that are left."""

import subprocess
from pathlib import Path

import pytest

from study.benchmarks.faults import strikes
from study.benchmarks.faults.strikes import KINDS, Strike, foreign, summary, surroundings


def scene(kind: str, folder: Path, code: int, said: str) -> strikes._Scene:
    log = folder / "log"
    log.write_text(said)
    with subprocess.Popen(["sh", "-c", f"exit {code}"]) as ended:
        ended.wait()
    return strikes._Scene(kind, folder, ended, log, deadline=0.0)


def test_foreign_files_and_links_are_seen_and_those_of_the_study_are_not(tmp_path: Path) -> None:
    study_dir = surroundings(tmp_path)
    before = foreign(tmp_path)
    assert len(before) == 6
    (study_dir / "students" / ("a" * 16)).mkdir()
    (study_dir / "checkpoints" / ("b" * 16)).mkdir()
    assert (tmp_path / "scratch" / "students" / ("a" * 16)).is_dir()
    (study_dir / "students" / ("a" * 16) / "training.json").write_text("{}")
    (study_dir / "study.yaml").write_text("a study's own")
    assert foreign(tmp_path) == before
    (study_dir / "students" / "resnet50" / "model.pt").unlink()
    assert foreign(tmp_path) != before


@pytest.mark.parametrize(
    ("kind", "code", "said", "wrong"),
    [
        ("raylet", 1, "failed: the local Ray cluster has died: its raylet was killed (SIGKILL)", []),
        ("raylet", 2, "failed: the local Ray cluster has died", ["exit code 2"]),
        ("gcs", 1, "", ["no true sentence"]),
        ("hangup", 130, "interrupted: finished members are kept; run the same command", []),
        ("hangup", 130, "interrupted: finished members are kept\nTraceback (most recent call last)", ["a traceback"]),
    ],
)
def test_the_end_of_a_sweep_is_judged(kind: str, code: int, said: str, wrong: list[str], tmp_path: Path) -> None:
    assert scene(kind, tmp_path, code, said)._wrong(5.0, (1, 130)) == wrong
    assert scene(kind, tmp_path, code, said)._wrong(31.0, (1, 130)) == [*wrong, "said after 31 s"]


@pytest.mark.parametrize(("told_after", "wrong"), [(None, 1), (31.0, 1), (2.0, 0)])
def test_the_second_death_in_a_row_must_be_told_soon(told_after: float | None, wrong: int, tmp_path: Path) -> None:
    ended = scene("dying_worker", tmp_path, 1, strikes._SENTENCES["dying_worker"])
    ended.told_after = told_after
    assert ended._wrong(5.0, (1,)) == ["the second death was not told in time"] * wrong


def test_a_lease_and_a_process_that_are_left_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweep-x.lease").touch()
    ended = scene("raylet", tmp_path, 1, "")
    monkeypatch.setattr(strikes.time, "monotonic", iter(range(0, 100, 20)).__next__)
    monkeypatch.setattr(strikes, "_lives", lambda pid, _title: pid == 7)
    assert ended._left({7: "raylet", 8: "gone"}) == ["process raylet", "sweep-x.lease"]


def test_the_summary_counts_by_kind() -> None:
    rows = [{"kind": "gcs", "lost_s": seconds} for seconds in (3.0, 5.0, 10.0)]
    values = summary(rows)
    assert values["strikes_gcs"] == 3
    assert values["strikes_gcs_lost_median_s"] == 5.0
    assert values["strikes_gcs_lost_max_s"] == 10.0
    assert {f"strikes_{kind}" for kind in KINDS} <= set(values)
    assert Strike("gcs", 1.0, "").wrong == ()

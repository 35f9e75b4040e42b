"""How a study stands, beside a sweep, half-way, at the end, and where there is none."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tiny_record import make_record
from tuned_study import SMALL, outcome

from analysis.records.cells import group_cells
from analysis.records.rows import read_runs, write_run
from analysis.status.status import FINISHED, RUNNING, STOPPED, StudyStatus, terminal_status
from study import status
from study.config.command_line import compose
from study.config.parse import study_config, write_study_yaml
from study.directory.claim import claim
from study.directory.layout import checkpoints_dir
from study.directory.lease import holder, lease
from study.planning.members import plan_members, plan_packs
from study.search.replay import known_members
from study.search.rounds import make_searches
from study.watching.events import EventLog, log_dir
from study.watching.find_status import find_status, planned_study
from study.watching.progress import ProgressFiles
from trainables.specs import Member, canonical_json

GRID = ("teachers=[unet_16]", "methods=[out_kd,diffusion_only]", "seeds=[0,1]", "train.steps=200")


def make_study(study_dir: Path, *overrides: str) -> list[Member]:
    cfg = compose("config", [f"study_dir={study_dir}", *overrides])
    study_dir.mkdir(exist_ok=True)
    claim(study_dir)
    write_study_yaml(cfg, study_dir)
    config = study_config(cfg)
    return [] if config.tuning else plan_members(config)


def finish(study_dir: Path, one: Member, fid: float | None = 40.0, **columns: Any) -> None:
    row = make_record(one.run_id) | {
        **{"method": one.method.name, "teacher": one.teacher.name if one.teacher else None, "seed": one.seed},
        **{"steps": 200, "fid": fid, "device_seconds": 10.0, "train_seconds": 9.0, "finished_at": datetime.now(UTC)},
        **{"macs_per_second": 2e9, "device": "cpu"},
    }
    write_run(study_dir, row | columns)


def status_of(study_dir: Path) -> StudyStatus:
    return find_status(planned_study(study_dir))


def files_of(study_dir: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns for path in study_dir.rglob("*") if path.is_file() and path.suffix != ".lease"
    }


def test_a_half_finished_study(tmp_path: Path) -> None:
    first, second, *_ = make_study(tmp_path, *GRID)
    unknown = status_of(tmp_path)
    assert (unknown.state, unknown.finished, unknown.device_seconds_left) == (STOPPED, 0, None)
    finish(tmp_path, first)
    finish(tmp_path, second, fid=None, status="diverged", diverged_at_step=7)
    before = files_of(tmp_path)
    seen = status_of(tmp_path)
    assert files_of(tmp_path) == before
    assert (seen.state, seen.planned, seen.finished, seen.not_planned) == (STOPPED, 4, 2, 0)
    assert seen.count == {"ok": 1, "collapsed": 0, "diverged": 1, "running": 0, "waiting": 2}
    assert [one.run_id for one in seen.bad] == [second.run_id]
    assert "diverged at step 7" in seen.bad[0].text
    assert sum(pack.num_members for pack in seen.waiting) == 2
    assert seen.device_seconds == 20.0
    assert seen.device_seconds_left is not None
    assert 5.0 < seen.device_seconds_left < 40.0  # two members, and a teacher to be trained
    assert seen.seconds_left is None
    assert "2 of 4 finished (0 collapsed, 1 diverged)" in terminal_status(seen)


def test_a_finished_study_and_rows_of_other_plans(tmp_path: Path) -> None:
    for one in make_study(tmp_path, *GRID):
        finish(tmp_path, one)
    write_run(tmp_path, make_record("f" * 16))
    seen = status_of(tmp_path)
    assert (seen.state, seen.finished, seen.not_planned) == (FINISHED, 4, 1)
    assert (seen.device_seconds_left, seen.waiting) == (0.0, [])
    assert {cell.method: cell.fids for cell in seen.cells} == {
        "out_kd": (40.0, 40.0),
        "diffusion_only": (40.0, 40.0),
    }


def test_beside_a_sweep(tmp_path: Path) -> None:
    planned = make_study(tmp_path, *GRID)
    finish(tmp_path, planned[0])
    log = EventLog(log_dir(tmp_path), "worker")
    ProgressFiles(checkpoints_dir(tmp_path))("0" * 16, 100, [planned[3].run_id])  # of an earlier sweep
    log("sweep_started")
    running, other = planned[1], planned[2]
    assert running.teacher
    (pack,) = [pack for pack in plan_packs(planned, None) if running in pack.members]
    log("pack_started", pack_id=pack.pack_id, teacher="unet_16", seeds=[1], steps=200, run_ids=[running.run_id])
    write = ProgressFiles(checkpoints_dir(tmp_path))
    write(pack.pack_id, 150, [running.run_id])
    log("member_failed", run_id=running.run_id, attempt=1, final=False, error="Traceback\n  line\nKeyError: 'x'\n")
    with lease(tmp_path, beat_seconds=0.2):
        finish(tmp_path, other)
        seen = status_of(tmp_path)
    assert (seen.state, seen.count["running"], seen.count["waiting"]) == (RUNNING, 1, 1)
    (found,) = seen.running
    assert (found.num_members, found.steps, found.num_steps, found.methods) == (1, 150, 200, ("out_kd",))
    (trouble,) = seen.failures
    assert trouble.run_id == running.run_id
    assert trouble.text.endswith("failed and is tried again: KeyError: 'x'")
    assert seen.seconds_left is not None
    assert seen.seconds_left > 0
    assert status_of(tmp_path).running == []  # the sweep is gone


def test_a_tuned_study_replays_the_search_and_writes_nothing(tmp_path: Path) -> None:
    make_study(tmp_path, *SMALL, "protocol.methods=[out_kd]", "teachers=[unet_64]")
    study = planned_study(tmp_path)
    tuning = study.config.tuning
    assert tuning is not None
    first_round = tuning.trials_per_round * len(tuning.search_seeds)
    everything = tuning.num_trials * len(tuning.search_seeds) + 2 * len(tuning.confirm_seeds)
    assert (len(study.members), study.num_open) == (first_round, everything - first_round)
    (search,) = make_searches(study.config)
    outcomes: dict[str, Any] = {}
    while asked := search.advance(outcomes):
        for one in asked:
            outcomes[one.run_id] = outcome(one)
            finish(tmp_path, one, fid=outcomes[one.run_id].fid, phase="search")
    before = files_of(tmp_path)
    confirming = status_of(tmp_path)
    assert files_of(tmp_path) == before
    searched = tuning.num_trials * len(tuning.search_seeds)
    assert (confirming.state, confirming.finished) == (STOPPED, searched)
    assert searched < confirming.planned <= everything
    for one in known_members(study.config)[0]:
        if one.run_id not in outcomes:
            finish(tmp_path, one)
    assert status_of(tmp_path).state == FINISHED


def test_the_page_is_written_and_looked_at_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path, *GRID)
    assert status.main([f"study_dir={tmp_path}", "watch_seconds=0.1"]) == 0  # no sweep runs, so one look is enough
    assert "0 of 4 finished" in capsys.readouterr().out
    page = (tmp_path / "report" / "status.html").read_text()
    assert "http-equiv" not in page
    assert "0 of 4 finished" in page


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path, *GRID)
    (tmp_path / "report").write_text("in the way")
    assert status.main([f"study_dir={tmp_path}"]) == 0
    output = capsys.readouterr().out
    assert "0 of 4 finished" in output
    assert "page: not written" in output


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: folder / "absent", "is not there"),
        (lambda folder: folder, "has no study.yaml (yet)"),
        (lambda folder: (folder / "study.yaml").write_text("- a list\n") and folder, "does not hold a config"),
        (lambda folder: (folder / "study.yaml").write_text("{a: b: c}\n") and folder, "cannot be read"),
        (lambda folder: (folder / "study.yaml").write_text("surprise: 1\n") and folder, "surprise"),
    ],
    ids=["absent", "empty", "list", "broken", "of another version"],
)
def test_where_there_is_no_study(make: Any, expected: str, tmp_path: Path) -> None:
    claim(tmp_path)
    with pytest.raises(ValueError, match=expected.replace("(", r"\(").replace(")", r"\)")):
        planned_study(make(tmp_path))


@pytest.mark.parametrize("arguments", [[], ["watch_seconds=0", "study_dir=x"], ["surprise=1"]])
def test_what_the_user_got_wrong_is_named(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match=r"study_dir must be given|watch_seconds must be|surprise"):
        status.main(arguments)


def test_an_absent_study_is_one_line() -> None:
    command = [sys.executable, "-m", "study.status", "study_dir=/nowhere"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")


def test_the_lease_of_a_killed_process_is_nobodys(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with lease(tmp_path, beat_seconds=0.1):
        found = holder(tmp_path)
        assert found is not None
        assert found.lives
    with lease(tmp_path, beat_seconds=3600.0):
        stopped = holder(tmp_path, patience_seconds=0.3)
        assert stopped is not None
        assert not stopped.lives
    killed = "import os, sys; from pathlib import Path; from study.directory.lease import lease\n"
    killed += "with lease(Path(sys.argv[1])):\n    os._exit(1)"
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False, timeout=60)
    assert list(tmp_path.glob("*.lease"))
    assert holder(tmp_path) is None


def test_lines_that_lack_a_key_and_control_characters_do_no_harm(tmp_path: Path) -> None:
    make_study(tmp_path, *GRID)
    log = EventLog(log_dir(tmp_path), "sweep")
    log("sweep_started")
    log("pack_started")
    log("member_failed")
    log("member_failed", run_id="a" * 16, final=True, error="\x1b]0;owned\x07\x1b[2J")
    with lease(tmp_path, beat_seconds=0.05):
        said = terminal_status(status_of(tmp_path))
    assert "failed for good" in said
    assert "\\x1b]0;owned" in said
    assert all(one.isprintable() or one == "\n" for one in said)


def test_the_cells_are_those_of_the_report(tmp_path: Path) -> None:
    """Two settings of one method were one line of the status and two of the report."""
    methods = "methods=[out_kd,{method:lift_place,group_size:4},{method:lift_place,group_size:16}]"
    planned = make_study(tmp_path, "teachers=[unet_16]", methods, "seeds=[0,1]")
    for one in planned:
        identity = {"member": canonical_json(one.identity()), "phase": "grid"}
        finish(
            tmp_path,
            one,
            fid=300.0 if one.seed else 40.0,
            teacher_id=one.teacher and one.teacher.teacher_id,
            **identity,
        )
    cells = {cell.method: (cell.ok, cell.collapsed) for cell in status_of(tmp_path).cells}
    assert cells == {cell.method: (1, 1) for cell in group_cells(read_runs(tmp_path), collapse_fid=200.0)}
    assert set(cells) == {"out_kd", "lift_place K=4", "lift_place K=16"}

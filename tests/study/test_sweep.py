"""The sweep as a user runs it, in miniature, on a real cluster."""

import csv
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import Sweep, copy_teachers, sweep_command

from analysis.records.rows import finished_run_ids, read_curve, read_runs
from study.directory.claim import claim
from study.directory.verify import FOREIGN, verify

pytestmark = pytest.mark.full


def rows(study_dir: Path) -> dict[str, Any]:
    return {row["run_id"]: row for row in read_runs(study_dir).to_pylist()}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scratch")
    (folder / "notes.txt").write_text("of somebody else")
    return folder


@pytest.fixture(scope="module")
def study(sweep: Sweep, scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its students are a link to scratch space."""
    study_dir = tmp_path_factory.mktemp("study")
    claim(study_dir)
    (study_dir / "students").symlink_to(scratch)
    result = sweep(study_dir)
    assert result.returncode == 0, result.stderr
    assert "lift_place_feat" in result.stdout
    return study_dir


def test_every_cell_has_its_rows_and_the_report(study: Path) -> None:
    found = rows(study)
    assert len(found) == 2 * 2 * 2 + 2
    assert {row["status"] for row in found.values()} == {"ok"}
    with (study / "report" / "stability.csv").open() as file:
        cells = {(row["teacher"], row["method"]): row for row in csv.DictReader(file)}
    assert len(cells) == 5
    assert all(row["n"] == "2" for row in cells.values())
    assert (study / "report" / "index.html").stat().st_size > 1000


def test_a_row_comes_with_its_curve_student_and_samples(study: Path) -> None:
    from trainables.models import load_model
    from trainables.models.digest import weights_digest

    for run_id, row in rows(study).items():
        assert read_curve(study, run_id).column("step").to_pylist()[-1] == 11
        assert weights_digest(load_model(study / "students" / row["train_id"])) == row["weights_digest"]
        assert (study / "samples" / f"{run_id}.png").exists()
        if row["teacher"] is not None:
            assert row["capacity_gap"] == row["teacher_params"] / row["student_params"]
            assert row["teacher_fid"] > 0
            assert row["student_teacher_distance"] > 0


def test_students_are_written_where_their_link_leads(study: Path, scratch: Path) -> None:
    assert (study / "students").is_symlink()
    train_ids = {row["train_id"] for row in rows(study).values()}
    assert {path.name for path in scratch.iterdir()} == {"notes.txt", *train_ids}
    assert [(finding.kind, finding.text) for finding in verify(study)] == [(FOREIGN, f"{study}/students/notes.txt")]


def test_nothing_is_left_over(study: Path) -> None:
    assert not (study / "checkpoints").exists()
    assert not list(study.rglob("*.tmp"))


def test_second_run_trains_nothing_and_needs_no_cluster(study: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (study / "records").rglob("*.parquet")}
    command = sweep_command(study, "cluster.address=127.0.0.1:1")  # where no cluster is
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "0 to run" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in (study / "records").rglob("*.parquet")} == before


def test_an_interrupted_sweep_goes_on_to_the_same_rows(
    study: Path, sweep: Sweep, cluster_address: str, tmp_path: Path
) -> None:
    copy_teachers(study, tmp_path)
    command = sweep_command(tmp_path, f"cluster.address={cluster_address}", "pack.max_members=1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 200
        while not finished_run_ids(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to go on" in errors
    assert 0 < len(finished_run_ids(tmp_path)) < len(rows(study))
    assert sweep(tmp_path).returncode == 0
    assert identities(tmp_path) == identities(study)


def test_two_ranks_train_the_same_members(study: Path, sweep: Sweep, tmp_path: Path) -> None:
    copy_teachers(study, tmp_path)
    result = sweep(tmp_path, "cluster.num_workers=2", "teachers=[unet_16]", "methods=[lift_place_feat]")
    assert result.returncode == 0, result.stderr
    found = rows(tmp_path)
    assert {row["world_size"] for row in found.values()} == {2}
    for run_id, row in found.items():
        alone = read_curve(study, run_id).column("loss").to_pylist()
        assert read_curve(tmp_path, run_id).column("loss").to_pylist() == pytest.approx(alone, rel=1e-3)
        assert row["fid"] == pytest.approx(rows(study)[run_id]["fid"], rel=0.02)


def identities(study_dir: Path) -> dict[str, tuple[str, float]]:
    return {run_id: (row["weights_digest"], row["fid"]) for run_id, row in rows(study_dir).items()}

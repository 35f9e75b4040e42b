"""A study in an S3-compatible store: killed, resumed, damaged and reported, it is the study of a local folder."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from s3_server import SECRET_KEY
from tiny_sweep import Sweep, sweep_command

from analysis.records.rows import finished_run_ids, read_runs
from storage import filesystem, location, name_in_store, new_file

pytestmark = pytest.mark.full
# Three members, each a pack of its own that keeps its state after every step.
SMALL = (
    "teachers=[unet_16]",
    "seeds=[0]",
    "methods=[diffusion_only,out_kd,lift]",
    "pack.max_members=1",
    "pack.checkpoint_every_minutes=0",
)


def identities(study_dir: Path) -> dict[str, Any]:
    return {row["run_id"]: (row["weights_digest"], row["fid"]) for row in read_runs(study_dir).to_pylist()}


@pytest.fixture(scope="module")
def local(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    study_dir = tmp_path_factory.mktemp("study")
    result = sweep(study_dir, *SMALL)
    assert result.returncode == 0, result.stderr
    return study_dir


@pytest.fixture(scope="module")
def study(bucket: str, cluster_address: str, sweep: Sweep) -> Path:
    """Killed when its first member was finished, and gone on with by the same command."""
    study_dir = location("study_dir", f"{bucket}/studies/one")
    command = sweep_command(study_dir, f"cluster.address={cluster_address}", *SMALL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 200
        while not finished_run_ids(study_dir) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.kill()
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert 0 < len(finished_run_ids(study_dir)) < 3
    assert list(study_dir.glob("sweep-*.lease"))
    result = sweep(study_dir, *SMALL)
    assert result.returncode == 0, result.stderr
    assert f"report: {study_dir}/report/index.html" in result.stdout
    return study_dir


def test_it_is_the_study_of_a_local_folder(study: Path, local: Path) -> None:
    assert len(identities(local)) == 3
    assert identities(study) == identities(local)
    objects = filesystem(study).find(name_in_store(study))
    names = {name.removeprefix(f"{name_in_store(study)}/") for name in objects}
    expected = {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("logs/")} == {
        name for name in expected if not name.startswith("logs/")
    }


def test_neither_objects_nor_the_logs_of_ray_hold_a_secret(study: Path, cluster_dir: Path) -> None:
    store = filesystem(study)
    for name in store.find(name_in_store(study)):
        assert SECRET_KEY.encode() not in store.cat_file(name), name
    logs = [path for path in cluster_dir.rglob("logs/**/*") if path.is_file()]
    assert logs
    assert [path for path in logs if SECRET_KEY.encode() in path.read_bytes()] == []


def test_the_report_and_the_status_are_made_from_it_alone(study: Path, local: Path, tmp_path: Path) -> None:
    for module, *overrides in (("study.report", f"report_dir={tmp_path}"), ("study.status",)):
        command = [sys.executable, "-m", module, f"study_dir={study}", *overrides]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    assert (study / "report" / "status.html").exists()
    for path in (tmp_path, study / "report"):
        with (path / "stability.csv").open() as made, (local / "report" / "stability.csv").open() as expected:
            assert [(row["method"], row["fid_mean"]) for row in csv.DictReader(made)] == [
                (row["method"], row["fid_mean"]) for row in csv.DictReader(expected)
            ]


def test_what_was_damaged_is_set_aside_and_made_again(study: Path, local: Path, sweep: Sweep) -> None:
    row = study / "records" / "runs" / f"{min(identities(local))}.parquet"
    (teacher,) = (study / "teachers").iterdir()
    for path in (row, teacher / "unet" / "diffusion_pytorch_model.safetensors"):
        content = path.read_bytes()[:50]
        with new_file(path) as file:
            file.write(content)
        assert path.stat().st_size == 50
    result = sweep(study, *SMALL)
    assert result.returncode == 0, result.stderr
    assert f"moved to {study}/damaged/records/runs/{row.name}" in result.stderr
    assert identities(study) == identities(local)
    assert (study / "damaged" / "records" / "runs" / row.name).stat().st_size == 50
    assert (study / "damaged" / "teachers" / teacher.name / "unet" / "config.json").exists()


def test_a_bucket_that_is_missing_ends_it_before_anything_is_started(study: Path) -> None:
    command = sweep_command(study, "study_dir=s3://missing/study")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: study_dir=s3://missing/study cannot be reached (missing must be there")
    assert done.stderr.count("\n") == 1

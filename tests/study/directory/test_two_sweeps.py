"""Two sweeps at once, and damage between two sweeps: the records come out whole."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import Sweep, sweep_command

from analysis.records.rows import finished_run_ids, read_runs, runs_dir
from study.directory.lease import lease

pytestmark = pytest.mark.full
SMALL = ("teachers=[unet_16]", "methods=[diffusion_only,out_kd]")  # four members


def identities(study_dir: Path) -> dict[str, Any]:
    return {row["run_id"]: (row["weights_digest"], row["fid"]) for row in read_runs(study_dir).to_pylist()}


@pytest.fixture(scope="module")
def study(cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study on which two sweeps were started at the same time."""
    study_dir = tmp_path_factory.mktemp("study")
    command = sweep_command(study_dir, f"cluster.address={cluster_address}", *SMALL)
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        for _ in range(2)
    ]
    results = sorted((process.communicate(timeout=300)[1], process.returncode) for process in both)
    codes = sorted(code for _, code in results)
    assert codes == [0, 2], results
    (refused,) = [errors for errors, code in results if code == 2]
    assert refused.startswith(f"error: study_dir={study_dir} is in use: a sweep runs there since")
    assert refused.count("\n") == 1
    return study_dir


def test_of_two_sweeps_one_runs_and_makes_every_row_once(study: Path) -> None:
    assert len(identities(study)) == 4
    assert len(list(runs_dir(study).iterdir())) == 4
    assert not list(study.rglob("*.tmp"))
    assert not list(study.glob("sweep-*.lease"))
    assert not (study / "checkpoints").exists()


def test_a_finished_study_is_reported_beside_a_sweep(study: Path) -> None:
    shutil.rmtree(study / "report")
    command = sweep_command(study, "cluster.address=127.0.0.1:1", *SMALL)  # where no cluster is
    with lease(study):
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert (study / "report" / "index.html").exists()


def test_what_was_damaged_is_named_set_aside_and_made_again(study: Path, sweep: Sweep, tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    shutil.copytree(study, study_dir)
    first, second, third, fourth = sorted(finished_run_ids(study_dir))
    train_ids = {row["run_id"]: row["train_id"] for row in read_runs(study_dir).to_pylist()}
    row, curve = (study_dir / "records" / kind for kind in ("runs", "curves"))
    (teacher,) = (study_dir / "teachers").iterdir()
    references = sorted((study_dir / "reference").iterdir())
    assert [path.suffix for path in references] == [".json", ".png", ".safetensors"]
    files = [
        row / f"{first}.parquet",
        study_dir / "students" / train_ids[first] / "unet" / "config.json",  # beside its row: or nobody would read it
        curve / f"{second}.parquet",
        study_dir / "samples" / f"{third}.png",
        teacher / "unet" / "diffusion_pytorch_model.safetensors",
        *references,
        study_dir / "study.yaml",
    ]
    for path in files:
        path.write_bytes(path.read_bytes()[:50])
    result = sweep(study_dir, *SMALL)
    assert result.returncode == 0, result.stderr
    named = [path for path in files if str(path) in result.stderr]
    assert named == [path for path in files if "students" not in path.parts]  # a worker's stderr is in its log
    assert identities(study_dir) == identities(study)
    damaged = study_dir / "damaged"
    assert (damaged / "records" / "runs" / f"{first}.parquet").exists()
    assert (damaged / "students" / train_ids[first]).is_dir()
    assert (damaged / "study.yaml").stat().st_size == 50
    assert not (damaged / "records" / "runs" / f"{fourth}.parquet").exists()
    assert (study_dir / "study.yaml").stat().st_size > 50

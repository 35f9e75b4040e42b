"""The study as a job of a cluster of three nodes, as `ray job submit` starts it, one of which is lost on the way."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_sweep import TINY

from study.benchmarks.faults.undisturbed import difference, run_undisturbed

PROGRAM = Path(__file__).parents[1] / "lose_a_node.py"
NUM_MEMBERS = 2 * 2 + 2
STUDY = (*TINY, "teachers=[unet_16]", "train.steps=60", "pack.max_members=2", "pack.checkpoint_every_minutes=0")


@pytest.mark.full
def test_a_job_outlives_a_node_and_its_report_comes_out_right(tmp_path: Path) -> None:
    study_dir, reference = tmp_path / "study", tmp_path / "reference"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, str(PROGRAM), str(study_dir), *STUDY]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    assert seen["status"] == "SUCCEEDED", seen["logs"]
    assert 2 <= seen["rows_at_kill"] < NUM_MEMBERS
    assert "2 packs at once" in seen["logs"]
    assert run_undisturbed([f"study_dir={reference}", *STUDY]) == NUM_MEMBERS
    assert difference(study_dir, reference) == []
    with (study_dir / "report" / "stability.csv").open() as file:
        cells = {(row["teacher"], row["method"]): row["n"] for row in csv.DictReader(file)}
    assert len(cells) == 3
    assert set(cells.values()) == {"2"}
    assert (study_dir / "report" / "index.html").stat().st_size > 1000
    assert not (study_dir / "checkpoints").exists()

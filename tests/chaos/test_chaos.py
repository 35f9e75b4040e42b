"""One kill of every kind, and the records are those of a study that nobody disturbed."""

import json
import os
import subprocess
import sys

import pytest

from study.benchmarks.faults.chaos import KINDS, Kill, Outcome, summary

SHORT = [
    "train.steps=60",
    "teacher_train.steps=20",
    "pack.checkpoint_every_minutes=0",
    "evaluation.num_images=64",
    "evaluation.sampler_steps=5",
    "teachers=[unet_16]",
    "methods=[diffusion_only,lift_place_feat]",
]
# In a process of its own: the cluster's processes are its children, and nobody else's.
PROGRAM = """
import dataclasses, json, sys
from study.benchmarks.faults.chaos import run_chaos
print(json.dumps(dataclasses.asdict(run_chaos(7, 5, json.loads(sys.argv[1]), limit_seconds=900.0))))
"""


@pytest.mark.full
def test_a_study_under_fire_has_the_records_of_one_in_peace() -> None:
    command = [sys.executable, "-c", PROGRAM, json.dumps(SHORT)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    result = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout.splitlines()[-1])
    assert outcome["differences"] == []
    assert sorted(kill["kind"] for kill in outcome["kills"]) == sorted(KINDS)
    assert outcome["num_sweeps"] >= 2
    assert outcome["num_members"] >= 4


def test_the_summary_counts_by_kind() -> None:
    kills = [Kill("worker", 8.0), Kill("worker", 12.0), Kill("worker", None), Kill("node", None)]
    result = summary([Outcome(1, kills, num_members=6), Outcome(2, [Kill("worker", 100.0)])])
    assert [row["kills"] for row in result.rows] == [4, 1]
    assert result.values["chaos_kills"] == 5
    assert result.values["chaos_worker_kills"] == 4
    assert result.values["chaos_worker_lost_median_s"] == 12.0
    assert result.values["chaos_worker_lost_max_s"] == 100.0
    assert result.values["chaos_node_kills"] == 1
    assert "chaos_node_lost_max_s" not in result.values

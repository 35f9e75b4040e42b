"""A teacher that a worker group makes: the same as one process makes, also where a rank is killed on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_sweep import TINY

from study.benchmarks.faults.victims import processes
from study.directory.layout import checkpoints_dir
from study.watching.events import read_events
from trainables.models import load_model
from trainables.models.saved import read_facts
from trainables.training.checkpoints import newest_steps

OVERRIDES = (*TINY, "teachers=[unet_16]", "teacher_train.steps=100", "pack.checkpoint_every_minutes=0")


def make(study_dir: Path, address: str, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "study.teachers", f"study_dir={study_dir}", f"cluster.address={address}"]
    return subprocess.Popen(
        [*command, *OVERRIDES, *overrides], stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output


def teacher(study_dir: Path) -> Path:
    (found,) = (study_dir / "teachers").iterdir()
    return found


def kill_a_rank(study_dir: Path) -> None:
    """When the training has a checkpoint behind it; the younger of the two ranks."""
    deadline = time.monotonic() + 300
    while not any(newest_steps(one) for one in checkpoints_dir(study_dir).glob("*")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.1)
    ranks = [pid for pid, title in processes().items() if title.startswith("ray::RayTrainWorker")]  # of this process
    assert len(ranks) == 2
    os.kill(max(ranks), signal.SIGKILL)


@pytest.mark.full
def test_a_group_of_ranks_makes_the_teacher_of_one_process_whatever_is_killed(
    tmp_path: Path, cluster_address: str
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    ended(make(alone, cluster_address))
    process = make(shared, cluster_address, "cluster.teacher_num_workers=2")
    try:
        kill_a_rank(shared)
        ended(process)
    finally:
        process.kill()
    assert teacher(shared).name == teacher(alone).name
    facts = [read_facts(teacher(one), "teacher.json") for one in (shared, alone)]
    assert [one["world_size"] for one in facts] == [2, 1]
    weights = [torch.nn.utils.parameters_to_vector(load_model(teacher(one)).parameters()) for one in (shared, alone)]
    assert (weights[0] - weights[1]).norm() < 1e-2 * weights[1].norm()  # float32, 100 steps
    assert [event["without_progress"] for event in read_events(shared) if event["event"] == "teacher_lost"] == [1]
    assert not list(checkpoints_dir(shared).glob("*"))

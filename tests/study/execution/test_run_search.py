"""The tuned protocol as a user runs it, in miniature: killed three times at random it ends as undisturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import copy_teachers

from analysis.records.rows import finished_run_ids, read_runs

pytestmark = pytest.mark.full

TINY = (
    "protocol=tuned",
    "protocol.methods=[out_kd,lift_place_feat]",
    "protocol.teachers=[unet_16]",
    "protocol.num_trials=4",
    "protocol.trials_per_round=2",
    "protocol.startup_trials=2",
    "seeds=[0,1]",
    "teachers=[unet_16]",
    "train.steps=10",
    "teacher_train.steps=10",
    "evaluation.num_images=64",
    "evaluation.sampler_steps=5",
    "pack.max_members=4",
    "protocol.early_stopping={rule:median,steps:[5],num_images:32,keep:0.34}",
)
ROW = ("phase", "status", "seed", "steps", "fid", "weights_digest", "member")


def output_of(study_dir: Path) -> Path:
    """Beside the study: a folder that holds anything else is refused."""
    return study_dir.with_suffix(".txt")


@contextmanager
def started(study_dir: Path, address: str) -> Iterator[subprocess.Popen[str]]:
    """The sweep in a process group of its own, which is killed at the end if it still runs."""
    command = [sys.executable, "-m", "study.sweep", f"study_dir={study_dir}", f"cluster.address={address}", *TINY]
    with (
        output_of(study_dir).open("w") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def run(study_dir: Path, address: str) -> str:
    with started(study_dir, address) as process:
        process.wait(timeout=300)
    output = output_of(study_dir).read_text()
    assert process.returncode == 0, output
    return output


def rows(study_dir: Path) -> dict[str, Any]:
    return {row["run_id"]: {key: row[key] for key in ROW} for row in read_runs(study_dir).to_pylist()}


def ledgers(study_dir: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in (study_dir / "searches").glob("*.json")}


@pytest.fixture(scope="module")
def undisturbed(cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    study_dir = tmp_path_factory.mktemp("undisturbed")
    run(study_dir, cluster_address)
    return study_dir


def test_the_budget_is_in_the_records(undisturbed: Path) -> None:
    found = rows(undisturbed).values()
    assert sum(row["phase"] == "search" for row in found) == 2 * 4 * 2
    assert {row["seed"] for row in found if row["phase"] == "search"} == {1000, 1001}
    assert {row["seed"] for row in found if row["phase"] != "search"} == {0, 1}
    assert {row["steps"] for row in found if row["phase"] != "search"} == {10}
    for one in ledgers(undisturbed).values():
        assert [trial["number"] for trial in one["trials"]] == [0, 1, 2, 3]
        assert set(one["confirm_run_ids"]) <= set(rows(undisturbed))
    assert (undisturbed / "report" / "index.html").exists()


def test_a_second_run_trains_nothing(undisturbed: Path, cluster_address: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "records").rglob("*.parquet")}
    before |= {path: path.stat().st_mtime_ns for path in (undisturbed / "searches").iterdir()}
    assert "dashboard:" not in run(undisturbed, cluster_address)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def kill_between(study_dir: Path, address: str, num_rows: int) -> None:
    """Starts the sweep, kills it with SIGKILL once there are num_rows rows more, and waits for its workers' end."""
    target = len(finished_run_ids(study_dir)) + num_rows
    with started(study_dir, address) as process:
        deadline = time.monotonic() + 200
        while len(finished_run_ids(study_dir)) < target and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None, output_of(study_dir).read_text()
    deadline = time.monotonic() + 30
    while processes_of(study_dir) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(study_dir) == []


def processes_of(study_dir: Path) -> list[str]:
    """Command lines of the processes that name the study."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_text().replace("\0", " ")
        except OSError:
            continue
        found += [text] if str(study_dir) in text else []
    return found


def test_killed_three_times_it_ends_with_the_same_suggestions_budget_and_rows(
    undisturbed: Path, cluster_address: str, tmp_path: Path
) -> None:
    study_dir = tmp_path / "study"
    copy_teachers(undisturbed, study_dir)
    chance = random.Random(os.getpid())
    for _ in range(3):
        kill_between(study_dir, cluster_address, chance.randint(1, 5))
    assert 3 <= len(finished_run_ids(study_dir)) < len(rows(undisturbed))
    run(study_dir, cluster_address)
    assert rows(study_dir) == rows(undisturbed)
    assert ledgers(study_dir) == ledgers(undisturbed)

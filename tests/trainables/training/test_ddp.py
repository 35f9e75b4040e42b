"""Two ranks that share every batch train the same student as one that sees it whole."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddp_rank import MEMBERS, outcome, teachers

from study.benchmarks import ddp
from trainables.losses.methods import METHODS
from trainables.ranks import Ranks

pytestmark = pytest.mark.full  # two more processes, which take half a minute to begin
WORKER = Path(__file__).parents[1] / "ddp_rank.py"
ROOT = Path(__file__).parents[3]
TIMEOUT_SECONDS = 300  # far more than it takes; a rank that waits for ever is killed


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """What two processes of gloo computed, the gate shared between them and not."""
    folder = tmp_path_factory.mktemp("ddp")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), "2", str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def one_rank() -> list[dict]:
    return outcome(Ranks())


def distance(actual: list[float], expected: list[float]) -> float:
    """||actual - expected|| / ||expected||."""
    x, y = torch.tensor(actual, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64)
    return ((x - y).norm() / y.norm()).item()


@pytest.mark.parametrize("index", [0, 1], ids=["lift_place_feat", "out_feat_kd"])
def test_two_ranks_train_the_student_of_one(index: int, one_rank: list[dict], two_ranks: dict[str, list[dict]]) -> None:
    alone, shared = one_rank[index], two_ranks["shared"][index]
    assert distance(shared["weights"], alone["weights"]) < 1e-10
    for point, expected in zip(shared["curve"], alone["curve"], strict=True):
        assert point == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("index", [0, 1], ids=["lift_place_feat", "out_feat_kd"])
def test_two_ranks_that_accumulate_gradients_do_so_too(
    index: int, one_rank: list[dict], two_ranks: dict[str, list[dict]]
) -> None:
    assert distance(two_ranks["in_parts"][index]["weights"], one_rank[index]["weights"]) < 1e-10


def test_it_takes_the_gate_of_the_whole_batch(one_rank: list[dict], two_ranks: dict[str, list[dict]]) -> None:
    gates = [point["gate"] for point in one_rank[0]["curve"]]
    assert max(gates) > 0.05  # else a gate that is not shared would not show
    assert distance(two_ranks["own"][0]["weights"], one_rank[0]["weights"]) > 1e-3


def test_ranks_freeze_a_member_that_diverges_together(two_ranks: dict[str, list[dict]]) -> None:
    assert MEMBERS[2].method.lambda_out == 1e308
    lost = two_ranks["shared"][2]
    assert (lost["weights"], lost["diverged_at_step"]) == (None, 0)
    assert not math.isfinite(lost["curve"][0]["loss"])


def test_two_ranks_that_were_interrupted_end_the_same(two_ranks: dict) -> None:
    assert two_ranks["resumed"]["steps"] == [14, 15, 16, 17, 18, 19, 20]
    for actual, expected in zip(two_ranks["resumed"]["outcomes"], two_ranks["shared"][::2], strict=True):
        assert actual["weights"] == expected["weights"]
        assert str(actual["curve"]) == str(expected["curve"])  # text, for a NaN is not equal to itself
        assert actual["diverged_at_step"] == expected["diverged_at_step"]


def test_two_ranks_make_the_teachers_of_one(two_ranks: dict, tmp_path: Path) -> None:
    alone, shared = teachers(Ranks(), tmp_path), two_ranks["teachers"]
    assert shared["steps"] == alone["steps"] == [4, 5, 6]  # it went on from the checkpoint of step 3
    for weights, expected in zip(shared["weights"], alone["weights"], strict=True):
        assert distance(weights, expected) < 1e-10
    for facts, expected in zip(shared["facts"], alone["facts"], strict=True):
        assert (facts["world_size"], expected["world_size"]) == (2, 1)
        (found,), (metrics,) = facts["evaluations"].values(), expected["evaluations"].values()
        assert found == pytest.approx(metrics, rel=1e-3)
    assert shared["left"] == ["initial", "reference", "teachers"]  # no checkpoints


@pytest.mark.full
def test_every_method_trains_the_same_student_on_1_2_and_4_ranks() -> None:
    result = ddp.compare(100)
    assert {row["method"] for row in result.rows} == set(METHODS)
    assert result.values["ddp_worst"] < 1e-5
    gates = {row["method"]: row["largest_gate"] for row in result.rows if row["largest_gate"] is not None}
    assert set(gates) == {name for name, method in METHODS.items() if method.fits_lines}
    assert gates["lift_place_feat"] > 0.05  # else a gate that is not shared would not show
    assert result.values["ddp_gate_of_its_own"] > 1e-3

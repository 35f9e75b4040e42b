"""Data parallelism: the students of 1, 2 and 4 ranks (gloo, CPU, float64) that share the same global batch.

Every method of the table, 100 steps, side by side in one pack. A figure is ||x - y|| / ||y|| over the EMA student's
parameters, y those of one rank; beside it the largest gate over the training, for where it stays shut one that is not
taken over the whole batch would not show. `gate_of_its_own` is the same figure when every rank keeps its own gate.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from study.benchmarks.measuring import Options, Result
from trainables.data import data_shape
from trainables.data.digits import Digits
from trainables.losses.methods import METHODS, make_method
from trainables.models import build_model
from trainables.protocol import EvaluationSpec
from trainables.ranks import Ranks
from trainables.specs import Member, ModelSpec, TeacherSpec, TrainSpec
from trainables.training.pack import Progress, train_pack

WORLD_SIZES, STEPS = (1, 2, 4), 100
TOLERANCE = 1e-5
_SETTINGS = {"lambda_out": 1.0, "feature": "fitnet", "lambda_feat": 1e-2, "group_size": 32}
_SETTINGS |= {"coarse_norm": "l1", "gate": "adaptive", "eps": 1e-7}
_LIMIT_SECONDS = 900.0

Outcomes = Mapping[str, Any]  # by method: weights, gate


class GateOfItsOwn(Ranks):
    """Ranks that keep their statistics to themselves; gradients are still averaged."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return values


def run(_options: Options) -> Result:
    """A row for every method. Raises RuntimeError where one differs by more than the tolerance."""
    result = compare(STEPS)
    if result.values["ddp_worst"] > TOLERANCE:
        raise RuntimeError(f"ranks do not train the same student: {result.rows}")
    return result


def compare(steps: int) -> Result:
    """Trains all methods with every number of ranks; relative differences from one rank."""
    with tempfile.TemporaryDirectory() as folder:
        found = {world_size: _trained(world_size, steps, Path(folder)) for world_size in WORLD_SIZES}
    alone = found[1]["shared"]
    rows = [
        {
            "method": name,
            **{f"{n}_ranks": distance(found[n]["shared"][name], alone[name]) for n in WORLD_SIZES[1:]},
            "largest_gate": alone[name]["gate"],
        }
        for name in METHODS
    ]
    of_its_own = distance(found[2]["own"]["lift_place_feat"], alone["lift_place_feat"])
    values = {f"ddp_worst_{n}_ranks": max(row[f"{n}_ranks"] for row in rows) for n in WORLD_SIZES[1:]}
    return Result(rows, {"ddp_worst": max(values.values()), **values, "ddp_gate_of_its_own": of_its_own})


def distance(actual: Outcomes, expected: Outcomes) -> float:
    """||actual - expected|| / ||expected|| over the weights."""
    x, y = (torch.tensor(outcome["weights"], dtype=torch.float64) for outcome in (actual, expected))
    return float((x - y).norm() / y.norm())


def _trained(world_size: int, steps: int, root: Path) -> dict[str, Outcomes]:
    """What a group of that many processes trained."""
    folder = root / str(world_size)
    folder.mkdir()
    command = [sys.executable, "-m", "study.benchmarks.ddp", str(world_size), str(steps), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, str(rank)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for rank in range(world_size)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=_LIMIT_SECONDS)
            if process.returncode:
                raise RuntimeError(errors.decode(errors="replace"))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    found: dict[str, Outcomes] = json.loads((folder / "results.json").read_text())
    return found


def _rank(world_size: int, steps: int, folder: Path, rank: int) -> None:
    """One process of the group; rank 0 writes what came out."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world_size)
    results = {"shared": _outcomes(list(METHODS), steps, Ranks(rank, world_size))}
    if world_size == 2:
        results["own"] = _outcomes(["lift_place_feat"], steps, GateOfItsOwn(rank, world_size))
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(results))
    dist.destroy_process_group()


def _outcomes(names: Sequence[str], steps: int, ranks: Ranks) -> dict[str, Any]:
    members = _members(names, steps)
    teacher = build_model(_unet(8), data_shape(Digits()), seed=100).double().eval().requires_grad_(False)
    students = train_pack(
        members,
        teacher,
        Digits().load(),
        initial=Path(),
        device=torch.device("cpu"),
        ranks=ranks,
        progress=Progress(),
    )
    outcomes = {}
    for name, student in zip(names, students, strict=True):
        assert student.model is not None, f"{name} diverged"
        weights = torch.nn.utils.parameters_to_vector(student.model.parameters()).tolist()
        gates = [point["gate"] for point in student.curve if "gate" in point]
        outcomes[name] = {"weights": weights, "gate": max(gates, default=None)}
    return outcomes


def _members(names: Sequence[str], steps: int) -> list[Member]:
    train = TrainSpec(steps=steps, batch_size=8, lr=2e-3, ema_decay=0.9, precision="float64")
    teacher = TeacherSpec(model=_unet(8), train=train, data=Digits())
    evaluation = EvaluationSpec(num_images=16, sampler_steps=2, feature_extractor="digits-cnn-v1", batch_size=16)
    methods = [make_method(name, _SETTINGS, num_elements=64) for name in names]
    return [
        Member(
            data=Digits(),
            teacher=teacher if method.needs_teacher else None,
            student=_unet(4),
            method=method,
            seed=0,
            train=train,
            evaluation=evaluation,
        )
        for method in methods
    ]


def _unet(channels: int) -> ModelSpec:
    config = {
        "block_out_channels": [channels, 2 * channels],
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "add_attention": False,
        "norm_num_groups": 2,
    }
    return ModelSpec(name=f"unet_{channels}", model_class="UNet2DModel", config=config)


if __name__ == "__main__":
    _rank(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))

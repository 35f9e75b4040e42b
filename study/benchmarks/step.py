"""A training step of lift_place_feat against one of out_feat_kd, as in the paper's table 9: iterations/s and memory.

On a GPU the teacher and student are large U-Nets; on the CPU the same code at reduced width and batch.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from study.benchmarks.measuring import Options, Result, take_turns
from study.benchmarks.models import System, member, unet
from trainables.arithmetic import FLOAT32, matrix_products
from trainables.data.streams import SeedStream
from trainables.families import predict
from trainables.models import build_model
from trainables.ranks import Ranks
from trainables.training.memory import peak_memory_mb
from trainables.training.recorded_features import feature_names, feature_shapes, record_features
from trainables.training.trainee import Trainee

METHODS = ("out_feat_kd", "lift_place_feat")
_DEEP = (1, 1, 2, 2, 4, 4)  # of the paper's 256x256 U-Nets
_ON_GPU = {256: System(unet(128, _DEEP, attention_at=4), unet(64, _DEEP, attention_at=4), (3, 256, 256), 4)}
_LEVELS = (1, 2, 2, 4)
_SMALL = (
    unet(16, _LEVELS, attention_at=3, layers_per_block=1),
    unet(8, _LEVELS, attention_at=3, layers_per_block=1),
)
_ON_CPU = {64: System(*_SMALL, (3, 64, 64), 4), 256: System(*_SMALL, (3, 256, 256), 1)}


@matrix_products(FLOAT32)
def run(options: Options) -> Result:
    """`ratio`: iterations/s of lift_place_feat over those of out_feat_kd; `memory_ratio` likewise of the peaks."""
    systems = _ON_GPU if options.device.type == "cuda" else _ON_CPU
    rows = [_measure(system, options) for system in systems.values()]
    values = {f"step_ratio_lift_place_feat_{size}": row["ratio"] for size, row in zip(systems, rows, strict=True)}
    return Result(rows, {"step_ratio_lift_place_feat": values["step_ratio_lift_place_feat_256"], **values})


def _measure(system: System, options: Options) -> dict[str, Any]:
    on_gpu = options.device.type == "cuda"
    steps = {name: _Step(system, name, options.device) for name in METHODS}
    times = take_turns(steps, options, inner=5 if on_gpu else 1)
    steps.clear()
    size = system.image[2]
    measured = _peak_on_gpu if on_gpu else _memory_mb
    memory = {name: measured(size, name, options.device) for name in METHODS}
    baseline, ours = METHODS
    return {
        "shape": "x".join(map(str, (system.batch_size, *system.image))),
        "out_feat_kd_iterations_s": 1 / times[baseline].seconds,
        "lift_place_feat_iterations_s": 1 / times[ours].seconds,
        "ratio": times[baseline].over(times[ours]),
        "out_feat_kd_mb": memory[baseline],
        "lift_place_feat_mb": memory[ours],
        "memory_ratio": memory[ours] / memory[baseline],
    }


class _Step:
    """One training step of one member: the teacher's pass, loss, backward, clip, optimiser and EMA."""

    def __init__(self, system: System, method: str, device: torch.device) -> None:
        one = member(system, method, num_steps=1000)
        one = replace(one, train=replace(one.train, lr=1e-6))
        data = system.data(2 * system.batch_size)
        stream = SeedStream(
            data, one.process, seed=0, batch_size=system.batch_size, timesteps="antithetic", ranks=Ranks()
        )
        self._teacher = build_model(system.teacher, system.shape, seed=1).eval().requires_grad_(False)
        torch.nn.Module.to(self._teacher, device)
        self._features = record_features(self._teacher, feature_names(self._teacher, "fitnet"))
        shapes = {"fitnet": feature_shapes(self._teacher, system.shape, self._features)}
        new_student = partial(build_model, system.student, system.shape, seed=0)
        self._trainee = Trainee(one, new_student, system.shape, teacher_features=shapes, device=device, ranks=Ranks())
        self._batch = stream.batch(0).to(device, torch.float32)
        self._step = 0

    def __call__(self) -> None:
        with torch.no_grad():
            output = predict(self._teacher, self._batch.x_t, self._batch.t, {})
        check = self._trainee.backward(self._batch, output, self._features, self._step, log=False)
        assert bool(check.isfinite())
        self._trainee.update(self._step)
        self._step += 1


def _memory_mb(size: int, method: str, device: torch.device) -> float:
    """The peak of three steps, in a process of their own."""
    command = [sys.executable, "-m", "study.benchmarks.step", str(size), method, device.type]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(found.stdout))


def _peak_on_gpu(size: int, method: str, device: torch.device) -> float:
    """The peak of three steps."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return _peak(str(size), method, device.type)


def _peak(size: str, method: str, device: str) -> float:
    systems = _ON_GPU if device == "cuda" else _ON_CPU
    step = _Step(systems[int(size)], method, torch.device(device))
    for _ in range(3):
        step()
    return peak_memory_mb(torch.device(device))


if __name__ == "__main__":
    print(json.dumps(_peak(*sys.argv[1:])))

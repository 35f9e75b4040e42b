"""Twelve members of the CelebA system on a GPU: separate runs, a pack as members one by one, and a fused pack."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from study.benchmarks.measuring import Options, Result
from study.benchmarks.models import System, member, unet
from trainables.arithmetic import BF16, FLOAT32, TF32
from trainables.data import Dataset
from trainables.models import build_model
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training.execution import Execution
from trainables.training.memory import peak_memory_mb
from trainables.training.pack import Progress, train_pack

# The CelebA teacher (78.7M parameters) and a student of its shape at an eighth of its width (1.24M).
CELEBA = System(
    unet(128, (1, 2, 2, 2, 4), attention_at=2), unet(16, (1, 2, 2, 2, 4), attention_at=2), (3, 64, 64), batch_size=96
)
METHODS = ("out_kd", "out_feat_kd", "lift_place", "lift_place_feat")
_WEIGHTS = (1.0, 0.1, 0.01)  # of the output loss: a tuning
_BUDGET = 1000  # steps, of which 50 are points of a curve
_WARM_UP = 2  # steps: libraries choose kernels, graphs are captured


def run(options: Options) -> Result:
    """`fused_speedup_<matmul>`: member-steps/s of a fused pack over those of separate runs, both with this matmul;
    `pack_speedup_<matmul>`: those of a pack that is not fused. Batches are drawn ahead, as they are on a GPU.
    """
    data = CELEBA.data(192)
    teacher = nn.Module.to(build_model(CELEBA.teacher, CELEBA.shape, seed=0), options.device)
    teacher = teacher.eval().requires_grad_(False)
    rows, values = [], {}
    for matmul in (FLOAT32, BF16, TF32):
        members = _members(matmul)
        separate = [_measure([one], teacher, data, options, fused=False) for one in members[:: len(_WEIGHTS)]]
        ways = {
            "separate": {
                **separate[-1],
                "member_steps_s": 1 / statistics.mean(1 / one["member_steps_s"] for one in separate),
            },
            "pack": _measure(members, teacher, data, options, fused=False),
            "fused": _measure(members, teacher, data, options, fused=True),
        }
        rows += [{"matmul": matmul, "way": way, **figures} for way, figures in ways.items()]
        for way in ("pack", "fused"):
            values[f"{way}_speedup_{matmul}"] = ways[way]["member_steps_s"] / ways["separate"]["member_steps_s"]
        print({key: round(value, 3) for key, value in values.items()}, rows[-3:], flush=True)
    return Result(rows, values)


def _members(matmul: str) -> list[Member]:
    members = [member(CELEBA, name, num_steps=_BUDGET, lambda_out=one) for name in METHODS for one in _WEIGHTS]
    return [replace(one, train=replace(one.train, matmul=matmul)) for one in members]


class Enough(Exception):  # noqa: N818 (it is no error)
    """Steps enough were timed."""


def _measure(
    members: Sequence[Member], teacher: nn.Module, data: Dataset, options: Options, *, fused: bool
) -> dict[str, Any]:
    """Of the median step after the first ones."""
    ends: list[float] = []
    on_gpu = options.device.type == "cuda"
    profiled = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])

    def report(_steps: int) -> None:
        ends.append(time.perf_counter())
        num_more = len(ends) - _WARM_UP - options.repeats
        if num_more == 0 and on_gpu:
            profiled.start()
        elif num_more >= 0:
            raise Enough

    begin_anew(options.device)
    with suppress(Enough):
        train_pack(
            members,
            teacher,
            data,
            initial=Path(),
            device=options.device,
            ranks=Ranks(),
            progress=Progress(report, interval_seconds=0.0),
            execution=Execution(fused=fused),
        )
    if on_gpu:
        torch.cuda.synchronize(options.device)
        profiled.stop()
    timed = ends[_WARM_UP - 1 : _WARM_UP + options.repeats]
    seconds = statistics.median(end - start for start, end in pairwise(timed))
    return {
        "members": len(members),
        "step_ms": 1e3 * seconds,
        "member_steps_s": len(members) / seconds,
        "launches": _launches(profiled) if on_gpu else None,
        "peak_mb": peak_memory_mb(options.device) if on_gpu else None,
    }


def begin_anew(device: torch.device) -> None:
    """Frees what the last one left, and counts its peak no more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _launches(profiled: torch.profiler.profile) -> int:
    """Of kernels and of graphs, by the host."""
    names = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch")
    return sum(event.count for event in profiled.key_averages() if event.key.startswith(names))

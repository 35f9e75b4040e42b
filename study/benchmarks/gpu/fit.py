"""How many members fit a part of a GPU, as the step of one of them shows, and what that many take when they train.

Members one by one: of a fused pack torch counts only what lies outside of its CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from study.benchmarks.gpu.celeba_pack import CELEBA, METHODS, Enough, begin_anew
from study.benchmarks.measuring import Options, Result
from study.benchmarks.models import member, unet
from trainables.data import Dataset
from trainables.models import build_model
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training.execution import Execution
from trainables.training.memory import USABLE, GpuMemory
from trainables.training.pack import Progress, num_that_fit, train_pack

# The CelebA teacher with students of half its width: 0.4 GB each, so that the number hangs on the memory.
_SYSTEM = replace(CELEBA, student=unet(64, (1, 2, 2, 2, 4), attention_at=2), batch_size=32)
_PARTS = (0.25, 0.5)  # of the GPU: cluster.gpus_per_worker
_NUM_MEMBERS = 64
_STEPS = 3  # a step makes Adam's moments; later ones take no more


def run(options: Options) -> Result:
    """`most_of_what_is_usable`, `least_of_what_is_usable`: the peak of the members that were said to fit, over what was
    usable then. Over 1 the number was too high.
    """
    if options.device.type != "cuda":
        raise ValueError(f"device must be cuda for fit but got {options.device.type!r}: a CPU counts no memory")
    data = _SYSTEM.data(64)
    teacher = nn.Module.to(build_model(_SYSTEM.teacher, _SYSTEM.shape, seed=0), options.device)
    teacher = teacher.eval().requires_grad_(False)
    weights = [0.1 + index / _NUM_MEMBERS for index in range(_NUM_MEMBERS // len(METHODS))]
    members = [member(_SYSTEM, name, num_steps=1000, lambda_out=one) for one in weights for name in METHODS]
    rows = [_measure(members, teacher, data, options, part) for part in _PARTS]
    used = [row["of_what_is_usable"] for row in rows]
    return Result(rows, {"most_of_what_is_usable": max(used), "least_of_what_is_usable": min(used)})


def _measure(
    members: Sequence[Member], teacher: nn.Module, data: Dataset, options: Options, part: float
) -> dict[str, Any]:
    begin_anew(options.device)
    memory = GpuMemory(options.device, part)
    where: dict[str, Any] = {"initial": Path(), "device": options.device, "ranks": Ranks()}
    where["execution"] = Execution(fused=False)
    before, usable = memory.allocated(), USABLE * memory.free()
    number = num_that_fit(members, memory, teacher, data, **where)
    begin_anew(options.device)

    def report(steps: int) -> None:
        if steps >= _STEPS:
            raise Enough

    with suppress(Enough):
        train_pack(members[:number], teacher, data, progress=Progress(report, interval_seconds=0.0), **where)
    peak = memory.peak() - before
    found = {"part": part, "usable_gb": usable / 1e9, "members": number}
    return found | {"peak_gb": peak / 1e9, "of_what_is_usable": peak / usable}

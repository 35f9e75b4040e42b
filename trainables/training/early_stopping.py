"""Early stopping of search members: at a rung a member's FID is measured, and a bad member leaves its pack.

A threshold is part of the member (and of its run_id): it is fixed before the pack starts, from members that finished
before, so that whether a member is stopped depends on nothing that happens beside it. Only a search makes members with
rungs; a member of the grid or of a confirm phase has none and is never measured on the way.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from trainables.ranks import Ranks
from trainables.training.trainee import Trainee

Measure = Callable[[nn.Module, int], float]  # model, number of images -> FID


def judge(trainees: Sequence[Trainee], step: int, measure: Measure, ranks: Ranks) -> dict[str, float]:
    """Measures the trainees that have a rung after this many steps, and stops those above its threshold.

    The FID goes into the curve. Returns the seconds that each of them took, by train_id.
    """
    seconds = {}
    for trainee in trainees:
        for rung in trainee.member.rungs:
            if rung.step == step and trainee.active:
                started = time.perf_counter()
                fid = measure(trainee.ema_student(), rung.num_images)
                fid = float(ranks.mean(torch.tensor([fid], dtype=torch.float64, device=trainee.device)))
                stop = rung.threshold is not None and not fid <= rung.threshold  # a NaN is not below any threshold
                trainee.pass_rung(step, fid, stop=stop)
                seconds[trainee.member.train_id] = time.perf_counter() - started
    return seconds

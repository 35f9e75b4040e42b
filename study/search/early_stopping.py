"""The thresholds of early stopping, from members that finished in earlier rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from study.config.tuning import EarlyStopping
from trainables.specs import Rung


def make_rungs(early_stopping: EarlyStopping, earlier: Sequence[Mapping[int, float]]) -> tuple[Rung, ...]:
    """The rungs of a member; earlier: rung FIDs of the members that it is held against, by steps.

    median: a member must not be above the median of the earlier ones at the same rung (the median stopping rule of
    Golovin et al. 2017, at one step instead of the running average). asha: it must be among the best `keep` of them
    (Li et al. 2020, with all earlier members known). A member that never got to a rung counts as infinitely bad there.
    """
    return tuple(
        Rung(
            step=step,
            num_images=early_stopping.num_images,
            threshold=_threshold(early_stopping, [fids.get(step, math.inf) for fids in earlier]),
        )
        for step in early_stopping.steps
    )


def _threshold(early_stopping: EarlyStopping, fids: Sequence[float]) -> float | None:
    if not fids:
        return None
    ordered = np.sort(np.array(fids, dtype=np.float64))
    if early_stopping.rule == "median":
        threshold = float(np.median(ordered))
    else:
        threshold = float(ordered[math.ceil(early_stopping.keep * len(ordered)) - 1])
    return threshold if math.isfinite(threshold) else None

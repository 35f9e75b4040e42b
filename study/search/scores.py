"""The score of a trial over its search seeds: what Optuna minimises, and what the best trial is chosen by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def objectives(fids: Sequence[float], score: str, std_weight: float) -> tuple[float, ...]:
    """What Optuna minimises for a trial whose members have these FIDs (one a search seed).

    mean; mean + std_weight * std (ddof 1); worst; or, for pareto, (mean, std). A collapsed member counts with its FID;
    one that diverged, or whose FID is not a number, counts as infinitely bad, and so does its trial.
    """
    values = np.array([math.inf if math.isnan(fid) else fid for fid in fids], dtype=np.float64)
    if not np.isfinite(values).all():
        return (math.inf, math.inf) if score == "pareto" else (math.inf,)
    mean = float(values.mean())
    std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if score == "pareto":
        return mean, std
    return ({"mean": mean, "mean_std": mean + std_weight * std, "worst": float(values.max())}[score],)


def scalar_score(fids: Sequence[float], score: str, std_weight: float) -> float:
    """One number to choose by, lower is better: the objective; for pareto mean + std_weight * std."""
    return objectives(fids, "mean_std" if score == "pareto" else score, std_weight)[0]

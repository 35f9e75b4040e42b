"""The spread of two methods from absolute deviations from their medians: scores that can be paired seed by seed.

Sign flips of the differences of these scores find a smaller spread of paired methods three to six times as often as
tests that compare the methods as independent groups (analysis/statistics/calibration.py).
"""

from __future__ import annotations

import numpy as np

from analysis.records.cells import FloatArray
from analysis.statistics.common_seeds import deviations


def spread_scores(fid_a: FloatArray, fid_b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Absolute deviations of fid_a and fid_b (..., T, n) from their medians at each teacher.

    At every teacher they are divided by their mean over both methods, so that every teacher counts the same.
    """
    both = deviations(np.stack([fid_a, fid_b]))
    scale = np.concatenate(both, axis=-1).mean(axis=-1, keepdims=True)
    first, second = (part / np.where(scale > 0, scale, 1.0) for part in both)
    return first, second


def spread_ratio(scores_a: FloatArray, scores_b: FloatArray) -> float:
    """Mean score of a over that of b; 1 where neither varies, infinite where only a does."""
    first, second = float(scores_a.mean()), float(scores_b.mean())
    if second > 0:
        return first / second
    return float("inf") if first > 0 else 1.0

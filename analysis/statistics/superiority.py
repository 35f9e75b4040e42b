"""Which method is better on a new seed. Only order matters: a diverged member is infinitely bad."""

from __future__ import annotations

import numpy as np
from scipy import special

from analysis.records.cells import FloatArray
from analysis.statistics.intervals import LEVEL, Interval, superiority_interval


def probability_better(fid_a: FloatArray, fid_b: FloatArray, *, paired: bool) -> tuple[float, Interval]:
    """P(the FID of a is below that of b), averaged over T teachers, ties as half, with a 95% interval.

    fid_a (T, n), fid_b (T, m). Paired: seed by seed (n = m), with the exact interval of a proportion, where a seed
    counts as the side that wins at more teachers. Not paired: every try against every try, so that their order does not
    matter, with Newcombe's interval for n and m tries.
    """
    a, b = (np.where(np.isfinite(fid), fid, np.inf) for fid in (fid_a, fid_b))
    if paired:
        wins = ((a < b) + 0.5 * (a == b)).mean(axis=0)
        n = len(wins)
        seeds = float((wins > 0.5).sum() + 0.5 * (wins == 0.5).sum())
        exact = special.betaincinv(
            [max(seeds, 1e-12), seeds + 1], [n - seeds + 1, max(n - seeds, 1e-12)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        )
        low, high = 0.0 if seeds == 0 else float(exact[0]), 1.0 if seeds == n else float(exact[1])
        return seeds / n, (low, high)
    found = np.mean([_wins(*pair) for pair in zip(a, b, strict=True)])
    return float(found), superiority_interval(float(found), a.shape[-1], b.shape[-1])


def _wins(a: FloatArray, b: FloatArray) -> float:
    ordered = np.sort(b)
    right = np.searchsorted(ordered, a, side="right")
    left = np.searchsorted(ordered, a, side="left")
    return float((len(b) - right + 0.5 * (right - left)).mean() / len(b))

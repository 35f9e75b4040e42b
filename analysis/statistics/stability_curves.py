"""Stability without a threshold: how often a FID above x comes out, for every x, and by how much two methods differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.records.cells import FloatArray
from analysis.statistics.sign_flips import sign_flips

_MAX_SEEDS = 2000  # beyond, flips of so many seeds say nothing that the curves do not show
_NUM_FLIPS = 1024


@dataclass(frozen=True)
class CurveDifference:
    """P(FID of a > x) - P(FID of b > x) at `x` (X,), with a band (X, 2) that holds everywhere at once with 95%.

    `p`: that the curves are the same, from the largest difference over all x; shown only, never claimed.
    """

    x: FloatArray
    difference: FloatArray
    band: FloatArray
    p: float


def exceedance(fid: FloatArray, x: FloatArray) -> FloatArray:
    """P(FID > x), (..., X), of `fid` (..., n) at `x` (X,); a diverged member exceeds every x."""
    worst = np.sort(np.where(np.isfinite(fid), fid, np.inf), axis=-1)
    flat = worst.reshape(-1, worst.shape[-1])
    counts = np.stack([len(row) - np.searchsorted(row, x, side="right") for row in flat])
    return np.asarray(counts / worst.shape[-1]).reshape(*fid.shape[:-1], len(x))


def curve_positions(fid: FloatArray, most: int = 200) -> FloatArray:
    """Where curves of `fid` (any shape) are computed: all FIDs that occur, or `most` quantiles of them, ascending."""
    known = np.unique(fid[np.isfinite(fid)])
    return known if len(known) <= most else np.unique(np.quantile(known, np.linspace(0, 1, most)))


def exceedance_difference(
    fid_a: FloatArray, fid_b: FloatArray, x: FloatArray, generator: np.random.Generator
) -> CurveDifference:
    """The difference of curves of fid_a and fid_b (T, n), the same seeds in the same columns, averaged over teachers.

    Whole seeds are flipped, so the band and p know how seeds and levels of x depend on each other. Above 2000 seeds
    only the difference is computed (band and p NaN).
    """
    first, second = (np.where(np.isfinite(fid), fid, np.inf) for fid in (fid_a, fid_b))
    found = (exceedance(first, x) - exceedance(second, x)).mean(axis=0)
    n = first.shape[-1]
    if n > _MAX_SEEDS or n < 2:
        return CurveDifference(x, found, np.full((len(x), 2), np.nan), float("nan"))
    each = ((first[..., None] > x).astype(np.float64) - (second[..., None] > x)).mean(axis=0)  # (n, X)
    signs = sign_flips(n, generator, limit=_NUM_FLIPS)
    largest = np.abs(signs @ each).max(axis=1) / n
    p = float((largest >= largest[0] * (1 - 1e-9)).mean())
    half = float(np.quantile(largest, 0.95, method="inverted_cdf"))
    band = np.stack([np.maximum(found - half, -1.0), np.minimum(found + half, 1.0)], axis=1)
    return CurveDifference(x, found, band, p)


def quantiles(fid: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles (Q,) of `fid` (n,) at `levels` (Q,): values that occur; infinite where diverged members reach."""
    worst = np.where(np.isfinite(fid), fid, np.inf)
    return np.asarray(np.quantile(worst, levels, method="inverted_cdf"))

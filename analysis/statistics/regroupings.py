"""Tests of independent groups: tries that share no seed, as those that a paper prints, are permuted between methods.

The statistic is Welch's t, permuted (Janssen 1997): exact where both methods have one distribution, and close to its
level where only the means are equal. The order in which tries are given changes nothing.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from analysis.records.cells import FloatArray
from analysis.statistics.intervals import LEVEL, Interval
from analysis.statistics.sign_flips import invert

MAX_REGROUPINGS = 5000
Masks = npt.NDArray[np.float64]
_TOLERANCE = 1e-9  # equal up to rounding counts as at least as large


def regroupings(
    num_a: int, num_b: int, generator: np.random.Generator, *, strata: int = 1, limit: int = MAX_REGROUPINGS
) -> Masks:
    """Masks (m, strata, num_a + num_b), 1 where a value of [all of a, all of b] is counted as a's; the first is as it
    was.

    Values change groups within their stratum only. All masks where there are at most `limit` (252 for 5 and 5), else
    that many drawn at random.
    """
    n = num_a + num_b
    if math.comb(n, num_a) ** strata <= limit:
        each = list(itertools.combinations(range(n), num_a))
        chosen = np.array(list(itertools.product(each, repeat=strata)))  # (m, strata, num_a)
    else:
        chosen = generator.permuted(np.broadcast_to(np.arange(n), (limit, strata, n)), axis=-1)[..., :num_a]
        chosen[0] = np.arange(num_a)
    masks = np.zeros((len(chosen), strata, n))
    np.put_along_axis(masks, chosen, 1.0, axis=-1)
    return masks


def floor(num_a: int, num_b: int, *, strata: int = 1) -> float:
    """The smallest p of two groups: 2/252 = 0.0079 for 5 and 5 in one stratum."""
    count = math.comb(num_a + num_b, num_a) ** strata
    return (2 if num_a == num_b else 1) / count if count <= MAX_REGROUPINGS else 1 / MAX_REGROUPINGS


def permutation_p(a: FloatArray, b: FloatArray, masks: Masks) -> FloatArray:
    """Two-sided p (...) that a (..., U, n_a) and b (..., U, n_b), U strata, have one mean, under `masks`."""
    values = np.concatenate([a, b], axis=-1)
    values = values - values.mean(axis=-1, keepdims=True)
    num_a, num_b = a.shape[-1], b.shape[-1]
    sums = np.einsum("...un,mun->...mu", values, masks, optimize=True)
    squares = np.einsum("...un,mun->...mu", values**2, masks, optimize=True)
    others, rest = values.sum(-1)[..., None, :] - sums, (values**2).sum(-1)[..., None, :] - squares
    variance = _error(squares, sums, num_a) + _error(rest, others, num_b)
    difference = np.abs((sums / num_a - others / num_b).sum(axis=-1))
    size = np.abs(values).max(axis=(-2, -1))[..., None] + np.finfo(np.float64).tiny
    t = difference / np.sqrt(np.maximum(variance.sum(axis=-1), (1e-9 * size) ** 2))
    return np.asarray((t >= t[..., :1] * (1 - _TOLERANCE) - _TOLERANCE).mean(axis=-1))


def _error(squares: FloatArray, sums: FloatArray, n: int) -> FloatArray:
    """The squared standard error of a mean from its sum of squares and its sum."""
    return np.asarray(np.maximum(squares - sums**2 / n, 0.0) / (max(n - 1, 1) * n))


def permutation_interval(
    a: FloatArray, b: FloatArray, masks: Masks, *, ratio: bool = False, level: float = LEVEL
) -> Interval:
    """All theta with p > 1 - level that the means of a - theta (of a and theta * b with `ratio`) and of b are equal.

    a (U, n_a), b (U, n_b): tries in U strata, with one theta for all.
    """
    if ratio:
        estimate = float(a.mean() / b.mean()) if b.mean() > 0 else float("nan")
        return invert(
            lambda theta: float(permutation_p(a, theta * b, masks)), estimate, scale=1.0, ratio=True, level=level
        )
    spread = max(float(np.ptp(a)), float(np.ptp(b)))
    return invert(
        lambda theta: float(permutation_p(a - theta, b, masks)), float(a.mean() - b.mean()), scale=spread, level=level
    )


def fisher_p(collapsed_a: npt.NDArray[np.bool_], collapsed_b: npt.NDArray[np.bool_]) -> float:
    """Fisher's exact p that two groups of independent members collapse equally often; any shapes."""
    counts = [(int(group.sum()), group.size) for group in (collapsed_a, collapsed_b)]
    from scipy import stats  # takes a second to import, and few reports need it

    return float(stats.fisher_exact([[hits, total - hits] for hits, total in counts]).pvalue)


def holm(p: FloatArray) -> FloatArray:
    """Holm's (1979) step-down corrected p values of p (m,); NaN stays NaN and does not count as a test."""
    result = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    if len(known):
        order = known[np.argsort(p[known], kind="stable")]
        result[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return result

"""Tests that use the pairing: the sign of a seed's difference is a coin toss where two methods do not differ.

All hypotheses that are tested together are flipped together, seed by seed, so that the test of the largest of them
(max-T, Westfall and Young 1993, stepped down) knows how they depend on each other: its smallest p is 2^(1 - n) for n
seeds whatever the number of hypotheses. What is tested is that differences are symmetric around zero. Two methods with
equal means of which only one collapses now and then have differences that are not symmetric.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from analysis.records.cells import FloatArray
from analysis.statistics.intervals import LEVEL, Interval

MIN_SEEDS = 6  # 2^(1 - 6) = 0.031; five seeds cannot go below 0.0625
MAX_FLIPS = 4096
NORMAL_FROM = 200  # seeds; from here on the sums of flips are drawn from their normal limit
_ROUNDING = 1 - 1e-9  # equal up to rounding counts as at least as large


def sign_flips(n: int, generator: np.random.Generator, limit: int = MAX_FLIPS) -> FloatArray:
    """Signs (F, n); the first row is all ones. All 2^(n-1) up to a common sign where at most `limit`, else drawn."""
    if n - 1 <= np.log2(limit):
        bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1)) & 1
        return np.hstack([np.ones((len(bits), 1)), 1.0 - 2.0 * bits])
    signs = generator.choice((1.0, -1.0), (limit, n))
    signs[0] = 1.0
    return signs


def floor(n: int, limit: int = MAX_FLIPS) -> float:
    """The smallest p of `n` seeds."""
    return max(2.0 ** (1 - n), 1 / limit)


def sign_flip_p(differences: FloatArray, flips: FloatArray) -> FloatArray:
    """Two-sided p (...) of the sum of paired `differences` (..., n) under `flips` (F, n); 1 where all are zero."""
    sums = np.abs(differences @ flips.T)
    return np.asarray((sums >= sums[..., :1] * _ROUNDING).mean(axis=-1))


def paired_t_p(differences: FloatArray) -> FloatArray:
    """Two-sided p (...) of the t test of `differences` (..., n); 1 where all are zero, 0 where all are alike."""
    n = differences.shape[-1]
    mean, error = differences.mean(axis=-1), differences.std(axis=-1, ddof=1) / np.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(mean) / error
    return np.asarray(np.nan_to_num(2 * special.stdtr(n - 1, -t), nan=1.0))


def flip_statistics(differences: FloatArray, flips: FloatArray) -> FloatArray:
    """|sum| / root of the sum of squares (m, F) of `differences` (m, n) under every flip: a monotone form of |t|."""
    sizes = np.sqrt((differences**2).sum(axis=-1))
    sums = np.abs(differences @ flips.T)
    return np.asarray(sums / np.where(sizes > 0, sizes, 1.0)[:, None])


def limit_statistics(differences: FloatArray, generator: np.random.Generator, limit: int = MAX_FLIPS) -> FloatArray:
    """The same (m, limit) in the normal limit of many seeds; the first column is what was observed."""
    sizes = np.sqrt((differences**2).sum(axis=-1, keepdims=True))
    unit = differences / np.where(sizes > 0, sizes, 1.0)
    values, vectors = np.linalg.eigh(unit @ unit.T)
    drawn = (vectors * np.sqrt(np.maximum(values, 0.0))) @ generator.standard_normal((len(unit), limit))
    drawn[:, 0] = unit.sum(axis=-1)
    return np.asarray(np.abs(drawn))


def step_down(statistics: FloatArray) -> FloatArray:
    """Step-down max-T p values (m,) of `statistics` (m, F), the observed ones in column 0.

    Each p is of the largest statistic among the hypotheses that are not more significant, made monotone.
    """
    order = np.argsort(-statistics[:, 0], kind="stable")
    largest = np.maximum.accumulate(statistics[order[::-1]], axis=0)[::-1]
    p = (largest >= statistics[order, :1] * _ROUNDING).mean(axis=1)
    result = np.empty(len(p))
    result[order] = np.maximum.accumulate(p)
    return result


def flip_interval(
    first: FloatArray, second: FloatArray, flips: FloatArray, *, estimate: float, others: FloatArray | None = None,
    ratio: bool = False, level: float = LEVEL,
) -> Interval:  # fmt: skip
    """All theta with p > 1 - level that the sums of first - theta * second (n,) are zero: the test turned around.

    second = 1 gives the interval of a mean; two scores and `ratio` that of their ratio. `others` (F,) is, flip by flip,
    the largest statistic of the hypotheses with which the interval must hold at once, each around its own estimate.
    """
    sums = flips @ np.stack([first, second], axis=1)
    least = np.zeros(len(flips)) if others is None else others

    def p(theta: float) -> float:
        size = np.sqrt(((first - theta * second) ** 2).sum()) or 1.0
        statistic = np.abs(sums[:, 0] - theta * sums[:, 1]) / size
        return float((np.maximum(statistic, least) >= statistic[0] * _ROUNDING).mean())

    return invert(p, estimate, scale=float(np.ptp(first)), ratio=ratio, level=level)


def t_interval(first: FloatArray, second: FloatArray, *, estimate: float, ratio: bool, level: float) -> Interval:
    """All theta with p > 1 - level in the t test of first - theta * second (n,)."""
    return invert(
        lambda theta: float(paired_t_p(first - theta * second)), estimate, scale=float(np.ptp(first)), ratio=ratio,
        level=level,
    )  # fmt: skip


def invert(
    p: Callable[[float], float], estimate: float, *, scale: float, ratio: bool = False, level: float = LEVEL
) -> Interval:
    """The interval around `estimate` in which p(theta) > 1 - level; unbounded where p never falls to it.

    Steps outwards from `scale`, then halves; a `ratio` is stepped in factors, so that it stays above zero.
    """
    if not np.isfinite(estimate) or (ratio and estimate <= 0):
        return float("nan"), float("nan")

    def at(step: float) -> float:
        return estimate * float(np.exp(step)) if ratio else estimate + step

    bounds = []
    for sign in (-1.0, 1.0):
        inside, outside = 0.0, sign * (0.1 if ratio else scale if scale > 0 else 1e-9 * max(abs(estimate), 1.0))
        doublings = 0
        while p(at(outside)) > 1 - level and doublings < 10:
            inside, outside, doublings = outside, 2 * outside, doublings + 1
        if doublings == 10:
            bounds.append(sign * np.inf if not ratio else (0.0 if sign < 0 else np.inf))
            continue
        for _ in range(30):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if p(at(middle)) > 1 - level else (inside, middle)
        bounds.append(at(inside))
    return float(bounds[0]), float(bounds[1])

"""Intervals for means, standard deviations, medians and proportions that stay honest at five tries.

Chosen by simulation (calibration.py): on normal FIDs the t interval of the mean and the chi-square interval
of the std hold their 95% at every n, while the percentile bootstrap covers 84% (mean) and 64% (std) at n = 5.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from analysis.records.cells import FloatArray

LEVEL = 0.95
NAN = (float("nan"), float("nan"))
Interval = tuple[float, float]


def mean_interval(values: FloatArray, level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of `values` (n,), in their unit; NaN when n < 2."""
    if len(values) < 2:
        return NAN
    half = special.stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def std_interval(values: FloatArray, level: float = LEVEL) -> Interval:
    """Chi-square interval of the standard deviation of `values` (n,), NaN when n < 2. Exact if normal."""
    if len(values) < 2:
        return NAN
    degrees = len(values) - 1
    squares = degrees * values.var(ddof=1)
    quantiles = 2 * special.gammaincinv(degrees / 2, [(1 + level) / 2, (1 - level) / 2])  # of chi-square
    low, high = np.sqrt(squares / quantiles)
    return float(low), float(high)


def median_interval(values: FloatArray, level: float = LEVEL) -> tuple[float, float, float]:
    """The order statistics around the median of `values` (n,), and the probability (0..1) with which they hold it.

    Needs no assumption on the distribution. The narrowest symmetric pair that reaches `level`, or (min, max) where
    none does: at n = 5 the whole range holds the median with probability 0.9375 (the sign test turned around).
    """
    n = len(values)
    if n == 0:
        return (*NAN, 0.0)
    ordered = np.sort(values)
    outside = 2 * special.bdtr(np.arange(n), n, 0.5)  # of dropping k values at either end and then one more
    dropped = max(int(np.searchsorted(outside, 1 - level, side="right")) - 1, 0)
    return float(ordered[dropped]), float(ordered[n - 1 - dropped]), float(1 - outside[dropped])


def bootstrap_interval(
    values: FloatArray, statistic: str, generator: np.random.Generator, level: float = LEVEL, resamples: int = 999
) -> Interval:
    """Percentile bootstrap interval of `statistic` ("mean" or "std") of `values` (n,); too narrow for n < 20."""
    if len(values) < 2:
        return NAN
    resamples = num_resamples(len(values), resamples)
    drawn = values[generator.integers(0, len(values), (resamples, len(values)))]
    estimates = drawn.mean(axis=1) if statistic == "mean" else drawn.std(axis=1, ddof=1)
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def num_resamples(n: int, wanted: int) -> int:
    """Fewer bootstrap resamples where n is so large that all of them would take long; at least 99."""
    return max(99, min(wanted, 200_000 // max(n, 1)))


def rate_interval(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of the proportion hits / n (0..1); (0, 1) when n = 0."""
    if n == 0:
        return 0.0, 1.0
    from scipy import stats  # takes a second to import, and few reports need it

    interval = stats.binomtest(hits, n).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def superiority_interval(probability: float, num_a: int, num_b: int, level: float = LEVEL) -> Interval:
    """Interval of P(a < b) estimated as `probability` from two independent groups: Newcombe (2006), method 5.

    Solves |estimate - theta| = z * se(theta), se(theta) of a pair of exponential distributions, so that it has a width
    at 0 and at 1 too.
    """
    if min(num_a, num_b) == 0:
        return 0.0, 1.0
    z = special.ndtri((1 + level) / 2)
    pairs = (num_a + num_b) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + pairs * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return float((probability - theta) ** 2 - z**2 * theta * (1 - theta) * spread / (num_a * num_b))

    inside = min(max(probability, 1e-9), 1 - 1e-9)  # 0 and 1 are roots of their own
    low = 0.0 if probability <= 0 else float(optimize.brentq(excess, 0.0, inside))
    high = 1.0 if probability >= 1 else float(optimize.brentq(excess, inside, 1.0))
    return low, high

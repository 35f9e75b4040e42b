"""Tests of whether two methods differ in mean or in spread, chosen by simulation to keep their level at few tries.

Every function works on the last axis and broadcasts over the axes before it, so that the very same code is calibrated
on thousands of simulated studies at once (analysis/statistics/calibration.py). What was found there, and decided:
- means: the exact permutation test is wrong when the spreads differ (9% false positives at n = 5, std ratio 10),
  Welch's t is not exact; both must reject, so p is the larger of the two;
- paired seeds: the exact sign-flip test of the differences, and below six pairs, where it can never reach 5%, the
  paired t test, which keeps its level on all simulated FIDs;
- spreads: the F test and permuting log stds reject up to half of the time when a few runs collapse; Brown and
  Forsythe's absolute deviations from the median hold, by permutation and by t, and again p is the larger. From 8
  tries on the permutation of Fligner and Killeen's scores must reject too: the others alone reach 8% when 30% of the
  runs collapse.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.records.cells import FloatArray

MAX_REGROUPINGS = 5000
MAX_PERMUTED = 50  # tries a group; beyond, the t tests are as good, and permuting is only slow
FLIGNER_FROM = 8
Masks = npt.NDArray[np.bool_]


def units(values: FloatArray, *, shared_seeds: bool) -> FloatArray:
    """What is exchangeable, (..., U, n), in `values` (..., T, n) of T teachers and n seeds.

    Where a seed is shared by all teachers (same initial student, data order and noise) its runs may depend on each
    other: the unit is the seed with the mean over its teachers, U = 1. Tries that share nothing are units of their
    own, U = T.
    """
    return values.mean(axis=-2, keepdims=True) if shared_seeds else values


def regroupings(
    num_a: int, num_b: int, generator: np.random.Generator, *, strata: int = 1, limit: int = MAX_REGROUPINGS
) -> Masks:
    """Masks (m, strata * (num_a + num_b)): which values of [all of a, all of b], each stratum after stratum, are a's.

    Values change groups within their stratum only. All masks where there are at most `limit` (252 for 5 and 5 in
    one stratum), else that many drawn at random. The first mask is the observed grouping.
    """
    n = num_a + num_b
    if math.comb(n, num_a) ** strata <= limit:
        each = list(itertools.combinations(range(n), num_a))
        chosen = np.array(list(itertools.product(each, repeat=strata)))  # (m, strata, num_a)
    else:
        everyone = np.broadcast_to(np.arange(n), (limit, strata, n))
        chosen = generator.permuted(everyone, axis=-1)[..., :num_a]
        chosen[0] = np.arange(num_a)
    masks = np.zeros((len(chosen), strata, n), dtype=np.bool_)
    np.put_along_axis(masks, chosen, True, axis=-1)
    first, rest = masks[..., :num_a], masks[..., num_a:]
    return np.concatenate([part.reshape(len(chosen), -1) for part in (first, rest)], axis=-1)


def permutation_floor(num_a: int, num_b: int, *, strata: int = 1) -> float:
    """The smallest p that the two-sided permutation test of two groups can give: 2/252 = 1/126 for 5 and 5."""
    count = math.comb(num_a + num_b, num_a) ** strata
    return (2 if num_a == num_b else 1) / count if count <= MAX_REGROUPINGS else 1 / MAX_REGROUPINGS


def sign_flip_floor(num_pairs: int) -> float:
    """The smallest p that the two-sided sign-flip test can give: 2/32 = 0.0625 for 5 pairs."""
    return max(2.0 ** (1 - num_pairs), 1 / MAX_REGROUPINGS)


def permutation_p(a: FloatArray, b: FloatArray, masks: Masks) -> FloatArray:
    """Two-sided p (...) of the difference of the means of a (..., U, n_a) and b (..., U, n_b) under `masks`."""
    values = np.concatenate([_flat(a), _flat(b)], axis=-1)
    num_a = int(masks[0].sum())
    first = values @ masks.T.astype(np.float64)
    rest = values.sum(axis=-1, keepdims=True) - first
    difference = np.abs(first / num_a - rest / (masks.shape[1] - num_a))
    tolerance = 1e-9 * np.abs(values).max(axis=-1)
    observed = difference[..., 0] - tolerance  # equal up to rounding counts as at least as large
    return np.asarray((difference >= observed[..., None]).mean(axis=-1))


def sign_flip_p(differences: FloatArray, generator: np.random.Generator, *, limit: int = MAX_REGROUPINGS) -> FloatArray:
    """Two-sided p (...) of the mean of paired `differences` (..., n) when the sign of each is a coin toss; exact to n
    = 12."""
    n = differences.shape[-1]
    if 2**n <= limit:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
    else:
        signs = generator.choice((1.0, -1.0), (limit, n))
        signs[0] = 1.0
    sums = np.abs(differences @ signs.T)
    tolerance = 1e-9 * np.abs(differences).sum(axis=-1)
    return np.asarray((sums >= (sums[..., 0] - tolerance)[..., None]).mean(axis=-1))


def paired_t_p(differences: FloatArray) -> FloatArray:
    """Two-sided p (...) of the paired t test of `differences` (..., n); 1 where all are zero, 0 where all are alike."""
    n = differences.shape[-1]
    mean, error = differences.mean(axis=-1), differences.std(axis=-1, ddof=1) / np.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(mean) / error
    return np.asarray(np.nan_to_num(2 * stats.t.sf(t, n - 1), nan=1.0))


def welch(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Difference of means, its standard error and Satterthwaite's degrees of freedom, each (...).

    a (..., U, n_a), b (..., U, n_b): the difference is the mean over the U strata, whose variances need not be equal.
    """
    difference = (a.mean(axis=-1) - b.mean(axis=-1)).mean(axis=-1)
    parts = np.concatenate([group.var(axis=-1, ddof=1) / group.shape[-1] for group in (a, b)], axis=-1)
    degrees_each = np.repeat([a.shape[-1] - 1, b.shape[-1] - 1], a.shape[-2])
    variance = parts.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = variance**2 / (parts**2 / degrees_each).sum(axis=-1)
    return difference, np.sqrt(variance) / a.shape[-2], np.nan_to_num(degrees, nan=1.0)


def welch_p(a: FloatArray, b: FloatArray) -> FloatArray:
    """Two-sided p (...) of Welch's t test of a (..., U, n_a) against b (..., U, n_b); 1 where nothing varies."""
    difference, error, degrees = welch(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(difference) / error
    return np.asarray(np.nan_to_num(2 * stats.t.sf(t, degrees), nan=1.0))


def student_p(a: FloatArray, b: FloatArray) -> FloatArray:
    """Two-sided p (...) of Student's t test, one common variance, strata pooled; 1 where nothing varies."""
    first, second = _flat(a), _flat(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = stats.ttest_ind_from_stats(
            *(first.mean(axis=-1), first.std(axis=-1, ddof=1), first.shape[-1]),
            *(second.mean(axis=-1), second.std(axis=-1, ddof=1), second.shape[-1]),
        )
    return np.asarray(np.nan_to_num(result.pvalue, nan=1.0))


def mean_test(a: FloatArray, b: FloatArray, masks: Masks | None) -> FloatArray:
    """p (...) that the means of the units a (..., U, n_a) and b (..., U, n_b) are equal: larger of permutation and
    Welch.

    `masks` are the regroupings of n_a and n_b in U strata, or None where there are too many to permute (Welch alone).
    """
    p = welch_p(a, b)
    return p if masks is None else np.maximum(p, permutation_p(a, b, masks))


def spread_test(a: FloatArray, b: FloatArray, masks: Masks | None, *, shared_seeds: bool = True) -> FloatArray:
    """p (...) that the FIDs a (..., T, n_a) and b (..., T, n_b) spread alike around their medians at every teacher.

    `masks` are the regroupings of n_a and n_b in T strata, or in one where seeds are shared; None: the t test alone.
    """
    scores = [units(part, shared_seeds=shared_seeds) for part in spread_scores(a, b)]
    p = student_p(*scores)
    if masks is None:
        return p
    p = np.maximum(p, permutation_p(scores[0], scores[1], masks))
    if min(a.shape[-1], b.shape[-1]) >= FLIGNER_FROM:
        normal = [units(part, shared_seeds=shared_seeds) for part in fligner_scores(a, b)]
        p = np.maximum(p, permutation_p(normal[0], normal[1], masks))
    return p


def spread_slope_test(
    a: FloatArray, b: FloatArray, weights: FloatArray, *, masks: Masks, shared_seeds: bool
) -> FloatArray:
    """p (...) that the spreads of a (..., T, n_a) and b (..., T, n_b) change alike over teachers; slope `weights` (T,).

    The scores of the spread test, weighted into one slope a seed (or a share of it a try, where seeds are not shared).
    The t interval of the slopes of log stds is no test: it excludes zero too often when runs collapse.
    """
    kinds = [spread_scores(a, b)]
    if min(a.shape[-1], b.shape[-1]) >= FLIGNER_FROM:
        kinds.append(fligner_scores(a, b))
    p = np.zeros(a.shape[:-2])
    for scores in kinds:
        first, second = (units(part * weights[:, None], shared_seeds=shared_seeds) for part in scores)
        p = np.maximum(p, np.maximum(welch_p(first, second), permutation_p(first, second, masks)))
    return p


def spread_scores(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Absolute deviations from each group's median, in the shapes of a (..., T, n_a) and b (..., T, n_b).

    Within a teacher they are divided by their mean over both methods, so that every teacher counts the same.
    """
    deviations = _deviations(a, b)
    scale = np.maximum(deviations.mean(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    return _split(deviations / scale, a.shape[-1])


def fligner_scores(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fligner and Killeen's normal scores of the ranked absolute deviations, in the shapes of a and b."""
    ranks = stats.rankdata(_deviations(a, b), axis=-1)
    return _split(np.asarray(stats.norm.ppf(0.5 + ranks / (2 * (ranks.shape[-1] + 1)))), a.shape[-1])


def _deviations(a: FloatArray, b: FloatArray) -> FloatArray:
    groups = [np.abs(group - np.median(group, axis=-1, keepdims=True)) for group in (a, b)]
    return np.concatenate(groups, axis=-1)


def _split(values: FloatArray, num_a: int) -> tuple[FloatArray, FloatArray]:
    return values[..., :num_a], values[..., num_a:]


def _flat(values: FloatArray) -> FloatArray:
    return values.reshape(*values.shape[:-2], -1)

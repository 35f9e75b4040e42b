"""Method against method: at one teacher, and over all the teachers that both were tried with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from analysis.records.cells import Cell, FloatArray, teachers_of
from analysis.statistics.intervals import LEVEL, NAN, Interval, mean_interval, num_resamples, superiority_interval
from analysis.statistics.jackknife import log_std, log_std_pseudo_values
from analysis.statistics.tries import Tries, pairs_of, shared_teachers, tries_of
from analysis.statistics.two_samples import (
    MAX_PERMUTED,
    mean_test,
    paired_t_p,
    permutation_floor,
    permutation_p,
    regroupings,
    sign_flip_floor,
    sign_flip_p,
    spread_test,
    units,
    welch,
    welch_p,
)

SIGN_FLIP_FROM = 6  # pairs; below, the sign-flip test cannot reach 5% and the paired t test is used
MIN_PAIRS = 3
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Method a against method b. Differences are a - b in FID points: negative where a is better.

    `teacher` is None for the comparison over `num_teachers` teachers; each seed then counts once, as its average over
    the teachers. `p_mean` and `p_spread` are the tests that the report goes by, `_holm` corrected over the family that
    is shown with them. Numbers that do not exist are NaN.
    """

    a: str
    b: str
    teacher: str | None
    num_teachers: int
    n_a: int
    n_b: int
    num_pairs: int  # seeds that both have; 0 where the tries are not paired
    mean_difference: float
    mean_difference_interval: Interval
    mean_difference_bootstrap: Interval
    p_mean: float
    p_mean_holm: float
    p_sign_flip: float
    p_paired_t: float
    p_permutation: float
    p_welch: float
    floor_mean: float
    std_ratio: float  # std of a / std of b, geometric mean over teachers
    std_ratio_interval: Interval
    p_spread: float
    p_spread_holm: float
    floor_spread: float
    probability_a_better: float  # on a new seed
    probability_interval: Interval
    collapse_difference: float
    p_collapse: float


def compare_all(cells: Sequence[Cell], generator: np.random.Generator, *, paired: bool) -> list[Comparison]:
    """Every pair of methods over all teachers, then at each teacher; Holm's correction within each of the two families.

    `paired` says that members of one seed share their noise and initial student, as in a study of this system.
    """
    pairs = pairs_of(cells)
    over_all = [comparison for pair in pairs if (comparison := _compare(cells, pair, None, generator, paired=paired))]
    single = [
        comparison
        for teacher in teachers_of(cells)
        for pair in pairs
        if (comparison := _compare(cells, pair, teacher, generator, paired=paired))
    ]
    return [*corrected(over_all), *corrected(single)]


def corrected(family: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with Holm-corrected p values over this family, means and spreads apart."""
    means = holm(np.array([one.p_mean for one in family]))
    spreads = holm(np.array([one.p_spread for one in family]))
    return [
        replace(one, p_mean_holm=float(mean), p_spread_holm=float(spread))
        for one, mean, spread in zip(family, means, spreads, strict=True)
    ]


def holm(p: FloatArray) -> FloatArray:
    """Holm's (1979) step-down corrected p values of p (m,); NaN stays NaN and does not count as a test."""
    result = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return result


def _compare(
    cells: Sequence[Cell], pair: tuple[str, str], teacher: str | None, generator: np.random.Generator, *, paired: bool
) -> Comparison | None:
    a, b = pair
    shared = shared_teachers(cells, a, b)
    teachers = shared if teacher is None else [name for name in shared if name == teacher]
    tries_a, tries_b = tries_of(cells, a, teachers), tries_of(cells, b, teachers)
    if tries_a is None or tries_b is None:
        return None
    return compare(tries_a, tries_b, generator, a=a, b=b, teacher=teacher, paired=paired)


def compare(
    tries_a: Tries, tries_b: Tries, generator: np.random.Generator, *, a: str, b: str, teacher: str | None, paired: bool
) -> Comparison:
    """Compares two methods at the same teachers. Diverged tries have no part in means and spreads, but never win."""
    fid_a, fid_b = _complete(tries_a.fid), _complete(tries_b.fid)
    unit_a, unit_b = (units(fid, shared_seeds=paired) for fid in (fid_a, fid_b))
    n_a, n_b, strata = unit_a.shape[-1], unit_b.shape[-1], unit_a.shape[-2]
    nan = float("nan")
    enough = min(n_a, n_b) >= 2
    masks = regroupings(n_a, n_b, generator, strata=strata) if enough and max(n_a, n_b) <= MAX_PERMUTED else None
    differences = _paired_differences(tries_a, tries_b) if paired else np.empty(0)
    flip = float(sign_flip_p(differences, generator)) if 1 < len(differences) <= MAX_PERMUTED else nan
    use_flip = np.isfinite(flip) and len(differences) >= SIGN_FLIP_FROM
    paired_p = float(paired_t_p(differences)) if len(differences) >= MIN_PAIRS else nan
    floor = permutation_floor(n_a, n_b, strata=strata) if masks is not None else 0.0 if enough else nan
    ratio, ratio_interval = _std_ratio(fid_a, fid_b, paired=paired)
    probability, probability_interval = _superiority(tries_a, tries_b, paired=paired)
    return Comparison(
        a=a, b=b, teacher=teacher, num_teachers=len(fid_a), n_a=n_a, n_b=n_b, num_pairs=len(differences),
        mean_difference=float(fid_a.mean() - fid_b.mean()) if n_a and n_b else nan,
        mean_difference_interval=_mean_interval(unit_a, unit_b, differences) if enough else NAN,
        mean_difference_bootstrap=_bootstrap(fid_a, fid_b, differences, generator) if enough else NAN,
        p_mean=flip if use_flip else paired_p if np.isfinite(paired_p) else float(mean_test(unit_a, unit_b, masks))
        if enough else nan,
        p_mean_holm=nan, p_sign_flip=flip, p_paired_t=paired_p,
        p_permutation=nan if masks is None else float(permutation_p(unit_a, unit_b, masks)),
        p_welch=float(welch_p(unit_a, unit_b)) if enough else nan,
        floor_mean=sign_flip_floor(len(differences)) if use_flip else 0.0 if np.isfinite(paired_p) else floor,
        std_ratio=ratio, std_ratio_interval=ratio_interval,
        p_spread=float(spread_test(fid_a, fid_b, masks, shared_seeds=paired)) if enough else nan,
        p_spread_holm=nan, floor_spread=floor,
        probability_a_better=probability, probability_interval=probability_interval,
        collapse_difference=float(tries_a.collapsed.mean() - tries_b.collapsed.mean()),
        p_collapse=_collapse_p(tries_a, tries_b, generator, paired=paired),
    )  # fmt: skip


def _complete(fid: FloatArray) -> FloatArray:
    return fid[:, ~np.isnan(fid).any(axis=0)]


def _paired_differences(tries_a: Tries, tries_b: Tries) -> FloatArray:
    """a - b (n,) averaged over teachers for the seeds that both have a FID for."""
    both = sorted(set(tries_a.seeds) & set(tries_b.seeds))
    columns = [np.searchsorted(tries.seeds, both) for tries in (tries_a, tries_b)]
    differences = (tries_a.fid[:, columns[0]] - tries_b.fid[:, columns[1]]).mean(axis=0)
    return np.asarray(differences[~np.isnan(differences)])


def _mean_interval(a: FloatArray, b: FloatArray, differences: FloatArray) -> Interval:
    """Paired t interval where there are pairs, else Welch's of the units a (U, n_a) and b (U, n_b)."""
    if len(differences) > 1:
        return mean_interval(differences)
    centre, error, degrees = welch(a, b)
    half = float(stats.t.ppf((1 + LEVEL) / 2, degrees) * error) if error > 0 else 0.0
    return float(centre) - half, float(centre) + half


def _bootstrap(
    a: FloatArray, b: FloatArray, differences: FloatArray, generator: np.random.Generator, resamples: int = 999
) -> Interval:
    """Percentile bootstrap of the difference of means, over pairs where there are any."""
    resamples = num_resamples(len(a.T) + len(b.T), resamples)
    groups = [differences] if len(differences) > 1 else [a.mean(axis=0), b.mean(axis=0)]
    drawn = [group[generator.integers(0, len(group), (resamples, len(group)))].mean(axis=1) for group in groups]
    low, high = np.quantile(drawn[0] - (drawn[1] if len(drawn) > 1 else 0.0), [0.025, 0.975])
    return float(low), float(high)


def _std_ratio(fid_a: FloatArray, fid_b: FloatArray, *, paired: bool) -> tuple[float, Interval]:
    """Geometric mean over teachers of std a / std b, with a jackknife interval."""
    if min(fid_a.shape[-1], fid_b.shape[-1]) < 2:
        return float("nan"), NAN
    value = float((log_std(fid_a) - log_std(fid_b)).mean())
    if min(fid_a.shape[-1], fid_b.shape[-1]) < 3:
        return float(np.exp(value)), NAN
    pseudo = [log_std_pseudo_values(fid) for fid in (fid_a, fid_b)]
    if paired and fid_a.shape == fid_b.shape:
        low, high = mean_interval((pseudo[0] - pseudo[1]).mean(axis=0))
    else:
        low, high = _mean_interval(pseudo[0], pseudo[1], np.empty(0))
    return float(np.exp(value)), (float(np.exp(low)), float(np.exp(high)))


def _superiority(tries_a: Tries, tries_b: Tries, *, paired: bool) -> tuple[float, Interval]:
    """P(a's FID is below b's on a new seed, averaged over teachers), ties as half; a diverged try counts as the
    worst."""
    worst = [np.where(np.isnan(tries.fid), np.inf, tries.fid).mean(axis=0) for tries in (tries_a, tries_b)]
    if paired:
        both = sorted(set(tries_a.seeds) & set(tries_b.seeds))
        first, second = (
            fid[np.searchsorted(tries.seeds, both)] for fid, tries in zip(worst, (tries_a, tries_b), strict=True)
        )
        wins = float((first < second).sum() + 0.5 * (first == second).sum())
        if not both:
            return float("nan"), (0.0, 1.0)
        exact = stats.binomtest(round(wins), len(both)).proportion_ci(LEVEL, method="exact")
        return wins / len(both), (float(exact.low), float(exact.high))
    first, second = (np.sort(fid) for fid in worst)
    below = len(second) - np.searchsorted(second, first, side="right")
    equal = np.searchsorted(second, first, side="right") - np.searchsorted(second, first, side="left")
    probability = float((below + 0.5 * equal).sum() / (len(first) * len(second)))
    return probability, superiority_interval(probability, len(first), len(second))


def _collapse_p(tries_a: Tries, tries_b: Tries, generator: np.random.Generator, *, paired: bool) -> float:
    """p that both methods collapse equally often: Fisher's exact test at one teacher, permuting units over more."""
    sizes = [tries.collapsed.shape[-1] for tries in (tries_a, tries_b)]
    if len(tries_a.collapsed) > 1 and max(sizes) <= MAX_PERMUTED:
        rates = [units(tries.collapsed, shared_seeds=paired) for tries in (tries_a, tries_b)]
        masks = regroupings(sizes[0], sizes[1], generator, strata=rates[0].shape[-2])
        return float(permutation_p(rates[0], rates[1], masks))
    counts = [(int(tries.collapsed.sum()), tries.collapsed.size) for tries in (tries_a, tries_b)]
    return float(stats.fisher_exact([[hits, total - hits] for hits, total in counts]).pvalue)

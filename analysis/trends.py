"""What happens to each method as the teacher grows: slopes of mean, spread and collapse over the capacity gap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from analysis.cells import Cell, FloatArray, methods_of, teachers_of
from analysis.comparisons import holm, pairs_of, tries_of
from analysis.intervals import NAN, Interval, num_resamples
from analysis.jackknife import Estimate, combine, log_std, log_std_pseudo_values
from analysis.two_samples import MAX_PERMUTED, regroupings, spread_slope_test

MIN_TEACHERS = 3
MAX_RANKED = 5000  # tries; beyond, the asymptotic p of a rank correlation is as good as permuting
AXES = ("capacity gap", "MACs", "student-teacher distance")


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One method over `axis`; slopes are per doubling of it, with 95% jackknife intervals over seeds.

    `mean` is in FID points, `log2_std` in doublings of the std (1: it doubles as well), `collapse` in collapse rate.
    `p_rank_mean` and `p_rank_spread` are rank trend tests of FID and of its absolute deviation from the cell's median.
    """

    method: str
    axis: str
    teachers: tuple[str, ...]
    num_seeds: int
    mean: Estimate
    mean_bootstrap: Interval
    log2_std: Estimate
    collapse: Estimate
    p_rank_mean: float
    p_rank_spread: float


@dataclass(frozen=True, kw_only=True)
class SlopeDifference:
    """How much steeper method a is than b per doubling of the capacity gap; p corrected by Holm over all pairs
    shown."""

    a: str
    b: str
    num_seeds: int
    mean: Estimate
    log2_std: Estimate
    p_spread: float  # of the permutation test of spreads; log2_std.p is no test when runs collapse
    p_mean_holm: float
    p_spread_holm: float


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Spearman's correlation of a method's FID with the gap and with the teacher's FID, each also given the other.

    Intervals are percentile bootstraps over tries within cells; with few teachers they say little, because the gap and
    the teacher's FID take only `num_teachers` values.
    """

    method: str
    num_teachers: int
    gap: float
    teacher_fid: float
    gap_given_teacher_fid: float
    teacher_fid_given_gap: float
    gap_given_teacher_fid_interval: Interval
    teacher_fid_given_gap_interval: Interval


def trends(cells: Sequence[Cell], generator: np.random.Generator, *, paired: bool) -> list[Trend]:
    """The trend of every method that has MIN_TEACHERS teachers, over each of AXES that was measured."""
    found = []
    for axis, method in itertools.product(AXES, methods_of(cells)):
        series = _series(cells, method)
        x = _positions(series, axis)
        if x is None:
            continue
        teachers = [cell.teacher_name for cell in series]
        tries = tries_of(series, method, teachers)
        fid = np.empty((len(series), 0)) if tries is None else tries.fid[:, ~np.isnan(tries.fid).any(axis=0)]
        if tries is None or fid.shape[1] < 2:
            continue
        weights = slope_weights(x)
        p_mean, p_spread = rank_trends(x, fid, generator, shared_seeds=paired)
        found.append(
            Trend(
                method=method, axis=axis, teachers=tuple(teachers), num_seeds=fid.shape[1],
                mean=mean_slope(fid, weights, shared_seeds=paired),
                mean_bootstrap=_bootstrap_slope(fid, weights, generator, shared=paired),
                log2_std=spread_slope(fid, weights, shared_seeds=paired),
                collapse=mean_slope(tries.collapsed, weights, shared_seeds=paired),
                p_rank_mean=p_mean, p_rank_spread=p_spread,
            )
        )  # fmt: skip
    return found


def slope_differences(cells: Sequence[Cell], generator: np.random.Generator, *, paired: bool) -> list[SlopeDifference]:
    """Every pair of methods that have MIN_TEACHERS teachers in common, over the capacity gap."""
    found = []
    for a, b in pairs_of(cells):
        common = {cell.teacher for cell in _series(cells, a)} & {cell.teacher for cell in _series(cells, b)}
        series = [cell for cell in _series(cells, a) if cell.teacher in common]
        x = _positions(series, AXES[0])
        names = [cell.teacher_name for cell in series]
        tries_a, tries_b = tries_of(cells, a, names), tries_of(cells, b, names)
        if x is None or tries_a is None or tries_b is None:
            continue
        seeds = sorted(set(tries_a.seeds) & set(tries_b.seeds))
        both = [tries.fid[:, np.searchsorted(tries.seeds, seeds)] for tries in (tries_a, tries_b)]
        complete = ~(np.isnan(both[0]) | np.isnan(both[1])).any(axis=0)
        if complete.sum() < 2:
            continue
        fids = both[0][:, complete], both[1][:, complete]
        found.append(_slope_difference(a, b, fids, slope_weights(x), generator, shared_seeds=paired))
    means = holm(np.array([one.mean.p for one in found]))
    spreads = holm(np.array([one.p_spread for one in found]))
    return [
        replace(one, p_mean_holm=float(mean), p_spread_holm=float(spread))
        for one, mean, spread in zip(found, means, spreads, strict=True)
    ]


def slope_weights(x: FloatArray) -> FloatArray:
    """Weights (T,) with which values at x (T,) make the least-squares slope."""
    centred = x - x.mean()
    return np.asarray(centred / (centred**2).sum())


def rank_trends(
    x: FloatArray, fid: FloatArray, generator: np.random.Generator, *, shared_seeds: bool, resamples: int = 1999
) -> tuple[float, float]:
    """Two-sided p of a monotone trend of fid (T, n), and of its deviations from each teacher's median, over x (T,).

    Means: Page's test within seeds where teachers share them, else a permutation test of Spearman's correlation over
    all tries. Spread: the same, and a permutation of the deviations themselves must reject too, because ranks alone
    reject in 15% of studies when 30% of the runs collapse.
    """
    deviations = np.abs(fid - np.median(fid, axis=1, keepdims=True))
    if fid.size > MAX_RANKED:
        return _spearman(x, fid), _spearman(x, deviations)
    order = np.argsort(x, kind="stable")
    if shared_seeds:
        means, spreads = _page_p(fid[order].T), _page_p(deviations[order].T)
    else:
        places = stats.rankdata(x)
        means, spreads = (_permuted_p(places, _ranks(part), generator, False, resamples) for part in (fid, deviations))
    return means, max(spreads, _permuted_p(x, deviations, generator, shared_seeds, resamples))


def rank_correlations(
    cells: Sequence[Cell], generator: np.random.Generator, resamples: int = 499
) -> list[RankCorrelation]:
    """For each method: is it the gap or the teacher's quality that its FID goes with?"""
    found = []
    for method in methods_of(cells):
        series = [cell for cell in _series(cells, method) if cell.teacher_fid is not None]
        if len(series) < MIN_TEACHERS or len({cell.teacher_fid for cell in series}) < 2:
            continue
        known = [cell.fid[~np.isnan(cell.fid)] for cell in series]
        if min(map(len, known)) < 2:
            continue
        gap, teacher_fid = (
            np.repeat([getattr(cell, name) for cell in series], [len(fid) for fid in known])
            for name in ("capacity_gap", "teacher_fid")
        )
        draws = num_resamples(sum(map(len, known)), resamples)
        drawn = [fid[generator.integers(0, len(fid), (draws, len(fid)))] for fid in known]
        values = np.concatenate([np.concatenate(known)[None], np.concatenate(drawn, axis=1)])
        partial_gap, partial_fid, plain_gap, plain_fid = _correlations(values, gap, teacher_fid)
        bounds = [np.quantile(part[1:], [0.025, 0.975]) for part in (partial_gap, partial_fid)]
        found.append(
            RankCorrelation(
                method=method, num_teachers=len(series), gap=float(plain_gap[0]), teacher_fid=float(plain_fid[0]),
                gap_given_teacher_fid=float(partial_gap[0]), teacher_fid_given_gap=float(partial_fid[0]),
                gap_given_teacher_fid_interval=(float(bounds[0][0]), float(bounds[0][1])),
                teacher_fid_given_gap_interval=(float(bounds[1][0]), float(bounds[1][1])),
            )
        )  # fmt: skip
    return found


def _series(cells: Sequence[Cell], method: str) -> list[Cell]:
    order = teachers_of(cells)
    series = [cell for cell in cells if cell.method == method and cell.teacher is not None]
    return sorted(series, key=lambda cell: order.index(cell.teacher_name))


def _positions(series: Sequence[Cell], axis: str) -> FloatArray | None:
    """log2 of what the axis measures (T,), or None where it is not known or has fewer than MIN_TEACHERS values."""
    if axis == "capacity gap":
        values = [cell.capacity_gap for cell in series]
    elif axis == "MACs":
        values = [
            cell.teacher_macs / cell.student_macs if cell.teacher_macs and cell.student_macs else None
            for cell in series
        ]
    else:
        values = [_mean_or_none(cell.distance) for cell in series]
    known = [value for value in values if value is not None and value > 0]
    if len(known) < len(series) or len(set(known)) < MIN_TEACHERS:
        return None
    return np.asarray(np.log2(np.array(known)))


def _mean_or_none(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def mean_slope(values: FloatArray, weights: FloatArray, *, shared_seeds: bool) -> Estimate:
    """Slope of the means of values (T, n), with weights (T,) of slope_weights."""
    return combine(values, weights, float(weights @ values.mean(axis=1)), shared_seeds=shared_seeds)


def spread_slope(fid: FloatArray, weights: FloatArray, *, shared_seeds: bool) -> Estimate:
    """Slope of log2 of the stds of fid (T, n), with weights (T,); no interval below three seeds."""
    value = float(weights @ log_std(fid) / np.log(2))
    if fid.shape[1] < 3:
        return Estimate(value, NAN, float("nan"))
    return combine(log_std_pseudo_values(fid), weights / np.log(2), value, shared_seeds=shared_seeds)


def _slope_difference(
    a: str, b: str, fids: tuple[FloatArray, FloatArray], weights: FloatArray, generator: np.random.Generator, *,
    shared_seeds: bool,
) -> SlopeDifference:  # fmt: skip
    both = np.concatenate(fids)  # (2 T, n): one statistic of the seeds that both have
    signed = np.concatenate([weights, -weights])
    num_seeds = both.shape[1]
    p_spread = float("nan")
    if num_seeds <= MAX_PERMUTED:
        masks = regroupings(num_seeds, num_seeds, generator, strata=1 if shared_seeds else len(weights))
        p_spread = float(spread_slope_test(*fids, weights, masks=masks, shared_seeds=shared_seeds))
    return SlopeDifference(
        a=a, b=b, num_seeds=num_seeds, p_spread=p_spread, mean=mean_slope(both, signed, shared_seeds=shared_seeds),
        log2_std=spread_slope(both, signed, shared_seeds=shared_seeds),
        p_mean_holm=float("nan"), p_spread_holm=float("nan"),
    )  # fmt: skip


def _bootstrap_slope(
    fid: FloatArray, weights: FloatArray, generator: np.random.Generator, *, shared: bool, resamples: int = 499
) -> Interval:
    """Percentile bootstrap of the slope of means, by whole seeds where teachers share them, else within each
    teacher."""
    num_teachers, n = fid.shape
    resamples = num_resamples(fid.size, resamples)
    index = generator.integers(0, n, (resamples, 1 if shared else num_teachers, n))
    shape = (resamples, num_teachers, n)
    drawn = np.take_along_axis(np.broadcast_to(fid, shape), np.broadcast_to(index, shape), -1)
    low, high = np.quantile(drawn.mean(axis=-1) @ weights, [0.025, 0.975])
    return float(low), float(high)


def _page_p(by_seed: FloatArray) -> float:
    """Two-sided p of Page's trend test of by_seed (n, T), columns by ascending x: twice the smaller one-sided p."""
    if len(by_seed) < 2 or by_seed.shape[1] < 3:
        return float("nan")
    ranks = stats.rankdata(by_seed, axis=1)
    one_sided = [stats.page_trend_test(part, ranked=True).pvalue for part in (ranks, ranks[:, ::-1])]
    return float(min(1.0, 2 * min(one_sided)))


def _permuted_p(
    x: FloatArray, values: FloatArray, generator: np.random.Generator, within_seeds: bool, resamples: int
) -> float:
    """Two-sided permutation p of the covariance of values (T, n) with x (T,): with ranks as values, Spearman's."""
    weights = x - x.mean()
    drawn = np.broadcast_to(values, (resamples, *values.shape))
    if within_seeds:
        shuffled = generator.permuted(drawn, axis=1)
    else:
        shuffled = generator.permuted(drawn.reshape(resamples, -1), axis=1).reshape(drawn.shape)
    observed = abs(float(weights @ values.sum(axis=1)))
    extreme = np.abs(np.tensordot(shuffled.sum(axis=2), weights, axes=1)) >= observed * (1 - 1e-9)
    return float((1 + extreme.sum()) / (1 + resamples))


def _ranks(values: FloatArray) -> FloatArray:
    return np.asarray(stats.rankdata(values).reshape(values.shape), dtype=np.float64)


def _spearman(x: FloatArray, values: FloatArray) -> float:
    return float(stats.spearmanr(np.repeat(x, values.shape[1]), values.ravel()).pvalue)


def _correlations(values: FloatArray, gap: FloatArray, teacher_fid: FloatArray) -> tuple[FloatArray, ...]:
    """Spearman's r of values (m, N) with gap given teacher_fid, teacher_fid given gap, gap, and teacher_fid: each
    (m,)."""
    ranks = [_standard_ranks(part) for part in (values, gap[None], teacher_fid[None])]
    fid_gap, fid_teacher, between = ((ranks[i] * ranks[j]).mean(axis=-1) for i, j in ((0, 1), (0, 2), (1, 2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        partial_gap = (fid_gap - fid_teacher * between) / np.sqrt((1 - fid_teacher**2) * (1 - between**2))
        partial_fid = (fid_teacher - fid_gap * between) / np.sqrt((1 - fid_gap**2) * (1 - between**2))
    return np.nan_to_num(partial_gap), np.nan_to_num(partial_fid), fid_gap, fid_teacher


def _standard_ranks(values: FloatArray) -> FloatArray:
    ranks = stats.rankdata(values, axis=-1)
    spread = ranks.std(axis=-1, keepdims=True)
    return np.asarray((ranks - ranks.mean(axis=-1, keepdims=True)) / np.where(spread > 0, spread, 1.0))

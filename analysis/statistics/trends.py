"""What happens to each method as the teacher grows: slopes of mean, spread and collapse over the capacity gap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.records.cells import Cell, FloatArray, methods_of, teachers_of
from analysis.statistics.comparisons import holm
from analysis.statistics.intervals import NAN, Interval, num_resamples
from analysis.statistics.jackknife import Estimate, combine, log_std, log_std_pseudo_values
from analysis.statistics.rank_trends import rank_trends
from analysis.statistics.tries import pairs_of, tries_of
from analysis.statistics.two_samples import MAX_PERMUTED, regroupings, spread_slope_test

MIN_TEACHERS = 3
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


def trends(cells: Sequence[Cell], generator: np.random.Generator, *, paired: bool) -> list[Trend]:
    """The trend of every method that has MIN_TEACHERS teachers, over each of AXES that was measured."""
    found = []
    for axis, method in itertools.product(AXES, methods_of(cells)):
        series = series_of(cells, method)
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
        common = {cell.teacher for cell in series_of(cells, a)} & {cell.teacher for cell in series_of(cells, b)}
        series = [cell for cell in series_of(cells, a) if cell.teacher in common]
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


def series_of(cells: Sequence[Cell], method: str) -> list[Cell]:
    """The cells of a method that have a teacher, by ascending teacher size."""
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

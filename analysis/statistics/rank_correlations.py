"""The teacher's own FID as a rival explanation: partial rank correlations of a student's FID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.records.cells import Cell, FloatArray, methods_of
from analysis.statistics.intervals import Interval, num_resamples
from analysis.statistics.teacher_trends import MIN_TEACHERS, series_of


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


def rank_correlations(
    cells: Sequence[Cell], generator: np.random.Generator, resamples: int = 499
) -> list[RankCorrelation]:
    """For each method: is it the gap or the teacher's quality that its FID goes with?"""
    found = []
    for method in methods_of(cells):
        series = [cell for cell in series_of(cells, method) if cell.teacher_fid is not None]
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

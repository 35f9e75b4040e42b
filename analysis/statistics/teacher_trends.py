"""What happens to a method as the teacher grows. Teachers are the units: more seeds do not make more teachers.

A slope over teachers is judged by how far the teachers lie from the line, with T - 2 degrees of freedom for T trained
teachers (several trainings of one architecture are several teachers of one size). All of it is shown, none of it is
claimed: trends stand outside the sequence of hypotheses (analysis/statistics/family.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from analysis.records.cells import Cell, FloatArray, teachers_of
from analysis.statistics.common_seeds import deviations, worst_filled
from analysis.statistics.intervals import LEVEL, NAN, Interval

MIN_TEACHERS = 3  # of different sizes
_RESTS_ON = 0.25  # a slope that falls below this share of itself without one teacher rests on that teacher


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One method over `axis`, per doubling of it: `slope` in FID points, `spread_slope` in doublings of the std.

    Intervals and `p` take teachers as units. `without` has, for every teacher, the slope that the others give;
    `rests_on` is the teacher without which the slope turns around or shrinks to less than a quarter. `p_lack_of_fit`
    small: the teachers lie off the line further than their seeds explain, so no straight line says what happens.
    """

    method: str
    axis: str
    teachers: tuple[str, ...]
    num_seeds: int
    slope: float
    interval: Interval
    p: float
    p_lack_of_fit: float
    without: tuple[tuple[str, float], ...]
    rests_on: str | None
    spread_slope: float
    spread_interval: Interval
    spread_p: float


def trend(
    fid: FloatArray, sizes: FloatArray, *, method: str, teachers: Sequence[str], axis: str, shared_seeds: bool
) -> Trend | None:
    """The trend of `fid` (T, n) over `sizes` (T,), which is what the axis measures; None below three different sizes.

    `shared_seeds`: column i is the same seed at every teacher, so that what the seed does to all of them is no error.
    """
    if not (np.isfinite(sizes) & (sizes > 0)).all() or len(np.unique(sizes)) < MIN_TEACHERS or not fid.size:
        return None
    x = np.log2(sizes)
    filled = worst_filled(fid)
    slope, interval, p = teacher_slope(x, filled.mean(axis=1))
    spread: tuple[float, Interval, float] = (float("nan"), NAN, float("nan"))
    if fid.shape[1] > 1 and (stds := _stds(fid)).all():
        spread = teacher_slope(x, np.log2(stds))
    without = [(name, _without(x, filled.mean(axis=1), place)) for place, name in enumerate(teachers)]
    return Trend(
        method=method, axis=axis, teachers=tuple(teachers), num_seeds=fid.shape[1], slope=slope, interval=interval,
        p=p, p_lack_of_fit=lack_of_fit(x, filled, shared_seeds=shared_seeds), without=tuple(without),
        rests_on=_rests_on(slope, without), spread_slope=spread[0], spread_interval=spread[1], spread_p=spread[2],
    )  # fmt: skip


def teacher_slope(x: FloatArray, y: FloatArray) -> tuple[float, Interval, float]:
    """Least-squares slope of y (T,) over x (T,), its 95% interval and two-sided p with T - 2 degrees of freedom."""
    found = _line(x, y)
    degrees = len(x) - 2
    if np.ptp(y) == 0:
        return 0.0, (0.0, 0.0), 1.0
    half = float(special.stdtrit(degrees, (1 + LEVEL) / 2) * found.stderr)
    return float(found.slope), (float(found.slope) - half, float(found.slope) + half), float(found.pvalue)


def _line(x: FloatArray, y: FloatArray) -> Any:
    from scipy import stats  # takes a second to import, and reports of one teacher do without

    return stats.linregress(x, y)


def lack_of_fit(x: FloatArray, fid: FloatArray, *, shared_seeds: bool) -> float:
    """p that T teachers lie on one straight line over x (T,), given how their seeds scatter: an F test of fid (T, n).

    The error is the scatter of seeds within teachers or, where seeds are shared, of teachers within seeds.
    """
    num, n = fid.shape
    means = fid.mean(axis=1)
    line = np.polynomial.Polynomial.fit(x, means, 1)(x)
    centred = fid - means[:, None] - (fid.mean(axis=0) - fid.mean() if shared_seeds else 0.0)
    degrees = (num - 1) * (n - 1) if shared_seeds else num * (n - 1)
    error = float((centred**2).sum())
    if degrees < 1 or error <= 0:
        return float("nan")
    off = n * float(((means - line) ** 2).sum()) / (num - 2)
    return float(special.fdtrc(num - 2, degrees, off / (error / degrees)))


def series_of(cells: Sequence[Cell], method: str) -> list[Cell]:
    """The cells of a method that have a teacher, by ascending teacher size."""
    order = teachers_of(cells)
    series = [cell for cell in cells if cell.method == method and cell.teacher is not None]
    return sorted(series, key=lambda cell: order.index(cell.teacher_name))


def _stds(fid: FloatArray) -> FloatArray:
    """Root of the summed squared deviations over n - 1, (T,); a diverged member deviates most of all."""
    if np.isfinite(fid).all():
        return np.asarray(fid.std(axis=1, ddof=1))
    return np.asarray(np.sqrt((deviations(fid) ** 2).sum(axis=1) / (fid.shape[1] - 1)))


def _without(x: FloatArray, y: FloatArray, place: int) -> float:
    return float(_line(np.delete(x, place), np.delete(y, place)).slope)


def _rests_on(slope: float, without: Sequence[tuple[str, float]]) -> str | None:
    if slope == 0:
        return None
    shares = {name: other / slope for name, other in without}
    least = min(shares, key=lambda name: shares[name])
    return least if shares[least] < _RESTS_ON else None

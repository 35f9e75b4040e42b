"""What is reported of one cell: location, spread, collapse, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.records.cells import Cell, FloatArray
from analysis.statistics.intervals import (
    Interval,
    bootstrap_interval,
    mean_interval,
    median_interval,
    rate_interval,
    std_interval,
)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Statistics of a cell's FIDs, in FID points unless a rate. Only the `_ok` fields leave collapsed members out.

    n counts every finished member; num_fid those with a finite FID (diverged members have none), which are the ones
    that means and stds are made of. `fid_mean_ok` and `fid_std_ok` are over the `num_ok` members that did not collapse.
    """

    n: int
    num_fid: int
    num_ok: int
    num_collapsed: int  # with a FID above the study's threshold
    num_diverged: int
    fid_mean: float
    fid_std: float
    fid_mean_interval: Interval
    fid_std_interval: Interval
    fid_mean_bootstrap: Interval
    fid_std_bootstrap: Interval
    fid_median: float
    fid_median_interval: Interval
    fid_median_coverage: float
    fid_quartiles: tuple[float, float]
    fid_min: float
    fid_max: float
    fid_cv: float  # std / mean: a std that grows with its mean is no news
    fid_log_std: float  # natural logarithm of the std
    collapse_rate: float
    collapse_rate_interval: Interval
    fid_mean_ok: float
    fid_std_ok: float
    device_seconds_mean: float


def summarise(cell: Cell, generator: np.random.Generator) -> Summary:
    """The summary of one cell; NaN where there are too few members for a number."""
    finite = np.isfinite(cell.fid)
    fid, fine = cell.fid[finite], cell.fid[finite & ~cell.collapsed]
    n = len(cell.fid)
    hits = int(cell.collapsed.sum())
    low, high, coverage = median_interval(fid)
    quartiles = np.quantile(fid, [0.25, 0.5, 0.75]) if len(fid) else np.full(3, np.nan)
    return Summary(
        n=n,
        num_fid=len(fid),
        num_ok=len(fine),
        num_collapsed=hits - int(cell.diverged.sum()),
        num_diverged=int(cell.diverged.sum()),
        fid_mean=mean(fid),
        fid_std=std(fid),
        fid_mean_interval=mean_interval(fid),
        fid_std_interval=std_interval(fid),
        fid_mean_bootstrap=bootstrap_interval(fid, "mean", generator),
        fid_std_bootstrap=bootstrap_interval(fid, "std", generator),
        fid_median=float(quartiles[1]),
        fid_median_interval=(low, high),
        fid_median_coverage=coverage,
        fid_quartiles=(float(quartiles[0]), float(quartiles[2])),
        fid_min=float(fid.min()) if len(fid) else float("nan"),
        fid_max=float(fid.max()) if len(fid) else float("nan"),
        fid_cv=std(fid) / mean(fid) if mean(fid) > 0 else float("nan"),
        fid_log_std=float(np.log(std(fid))) if std(fid) > 0 else float("nan"),
        collapse_rate=hits / n,
        collapse_rate_interval=rate_interval(hits, n),
        fid_mean_ok=mean(fine),
        fid_std_ok=std(fine),
        device_seconds_mean=mean(cell.device_seconds[~np.isnan(cell.device_seconds)]),
    )


def mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def std(values: FloatArray) -> float:
    """Sample standard deviation (ddof 1) of `values` (n,); NaN when n < 2."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


Entry = tuple[Cell, Summary]

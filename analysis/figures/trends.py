"""The capacity-gap trends as numbers on a line: slope of the mean and growth of the std, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import method_style, new_figure
from analysis.statistics.jackknife import Estimate
from analysis.statistics.trends import Trend


def trend_figure(trends: Sequence[Trend], methods: Sequence[str]) -> Figure:
    """Two panels over the methods in `trends`: FID points, and factor of the std, per doubling of the capacity gap."""
    height = 1.3 + 0.32 * len(trends)
    figure, (top, bottom) = new_figure(2, inches=(4.6, height))
    styles = method_style(methods)
    for place, trend in enumerate(trends):
        style = styles[trend.method]
        _bar(top, place, trend.mean, style["color"], style["marker"])
        _bar(bottom, place, trend.log2_std, style["color"], style["marker"])
    for axes, label in (
        (top, "FID points per doubling of the gap"),
        (bottom, "std multiplied by, per doubling of the gap"),
    ):
        axes.axvline(0, color="#888888", linewidth=1)
        axes.set_yticks(range(len(trends)), [trend.method for trend in trends])
        axes.set_ylim(len(trends) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
    low, high = bottom.get_xlim()
    powers = np.arange(np.floor(max(low, -8)), np.ceil(min(high, 8)) + 1)
    bottom.set_xticks(powers, [f"{2.0**power:g}" for power in powers])
    return figure


def _bar(axes: Axes, place: int, estimate: Estimate, colour: str, marker: str) -> None:
    bounds = np.clip(np.nan_to_num(np.array(estimate.interval), nan=estimate.value), -1e6, 1e6)
    axes.plot(bounds, [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(estimate.value, place, marker=marker, color=colour, markersize=7)

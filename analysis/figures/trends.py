"""The capacity-gap trends as numbers on a line: slope of the mean and growth of the std, teachers as units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import method_style, new_figure
from analysis.statistics.intervals import Interval
from analysis.statistics.teacher_trends import Trend


def trend_figure(trends: Sequence[Trend], methods: Sequence[str]) -> Figure:
    """Two panels over the methods in `trends`: FID points, and factor of the std, per doubling of the capacity gap.

    Small marks in the upper panel are the slopes without each of the teachers.
    """
    figure, (top, bottom) = new_figure(2, inches=(4.6, 1.3 + 0.32 * len(trends)))
    styles = method_style(methods)
    for place, trend in enumerate(trends):
        style = styles[trend.method]
        without = [slope for _, slope in trend.without if math.isfinite(slope)]
        top.plot(without, [place + 0.28] * len(without), linestyle="", marker="|", color=style["color"], markersize=6)
        _bar(top, place, trend.slope, trend.interval, style)
        _bar(bottom, place, trend.spread_slope, trend.spread_interval, style)
    for axes, label in (
        (top, "FID points per doubling of the gap"),
        (bottom, "std multiplied by, per doubling of the gap"),
    ):
        axes.axvline(0, color="#888888", linewidth=1)
        axes.set_yticks(range(len(trends)), [trend.method for trend in trends])
        axes.set_ylim(len(trends) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
    _limit(top, [slope for trend in trends for slope in (trend.slope, *(value for _, value in trend.without))])
    _limit(bottom, [trend.spread_slope for trend in trends])
    low, high = bottom.get_xlim()
    powers = np.arange(math.floor(low), math.ceil(high) + 1)
    powers = powers[:: -(-len(powers) // 7)]
    bottom.set_xticks(powers, [f"{2.0**power:.3g}" for power in powers])
    bottom.set_xlim(low, high)
    return figure


def _bar(axes: Axes, place: int, value: float, interval: Interval, style: dict[str, Any]) -> None:
    if not math.isfinite(value):
        return
    bounds = [end if math.isfinite(end) else value for end in interval]
    axes.plot(bounds, [place, place], color=style["color"], linewidth=2.2, solid_capstyle="butt")
    axes.plot(value, place, markersize=7, **style)


def _limit(axes: Axes, values: Sequence[float]) -> None:
    """Three teachers give intervals far wider than anything seen: the axis ends at three times the slopes."""
    reach = 3 * max([abs(value) for value in values if math.isfinite(value)], default=0.0) or 1.0
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -reach), min(high, reach))

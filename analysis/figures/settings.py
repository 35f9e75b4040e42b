"""How FID answers to a setting: group size K, and the weights lambda that the search tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.style import label_decades, method_style, new_figure, shared_legend
from analysis.statistics.summary import mean, std

MAX_POINTS = 1000  # a method; beyond this, single tries are left out of the picture
MAX_JOINED = 8  # values; more were drawn by a search, and a line from each to the next would say what nobody knows
SETTINGS = {"group_size": "group size K (elements)", "lambda_out": "lambda_out", "lambda_feat": "lambda_feat"}


def settings_figure(rows: Sequence[dict[str, Any]], methods: Sequence[str]) -> Figure | None:
    """One panel a setting of which at least two values were tried: every try, and mean +- std where seeds repeat.

    Means are joined where the values are few.

    `rows` are records with a FID, each with method, fid and the columns of SETTINGS. None where nothing varied.
    """
    panels = [name for name in SETTINGS if _varies(rows, name)]
    if not panels:
        return None
    figure, all_axes = new_figure(len(panels), inches=(4.6, 2.8))
    styles = method_style(methods)
    for name, axes in zip(panels, all_axes, strict=True):
        for method in methods:
            points = [(row[name], row["fid"]) for row in rows if row["method"] == method and row[name] is not None]
            if len({value for value, _ in points}) > 1:
                _response(axes, np.array(points, dtype=np.float64), styles[method], method)
        axes.set_xlabel(SETTINGS[name])
        axes.set_ylabel("FID")
        axes.set_xscale("log")
        if name == "group_size":
            sizes = sorted({row[name] for row in rows if row[name] is not None})
            axes.xaxis.set_major_locator(FixedLocator(sizes))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticklabels([f"{size}" for size in sizes])
        else:
            label_decades(axes.xaxis)
    shared_legend(figure)
    return figure


def _varies(rows: Sequence[dict[str, Any]], name: str) -> bool:
    by_method: dict[str, set[float]] = {}
    for row in rows:
        if row[name] is not None and row[name] > 0:
            by_method.setdefault(row["method"], set()).add(row[name])
    return any(len(values) > 1 for values in by_method.values())


def _response(axes: Axes, points: np.ndarray, style: dict[str, Any], method: str) -> None:
    if len(points) <= MAX_POINTS:
        axes.plot(points[:, 0], points[:, 1], linestyle="", alpha=0.45, markersize=5, markeredgewidth=0, **style)
    values = np.unique(points[:, 0])
    groups = [points[points[:, 0] == value, 1] for value in values]
    repeated = max(map(len, groups)) > 1 and len(values) <= MAX_JOINED
    axes.errorbar(
        values, [mean(group) for group in groups], yerr=[np.nan_to_num(std(group)) for group in groups],
        linestyle="-" if repeated else "", elinewidth=1, capsize=3, markersize=5, label=method, **style,
    )  # fmt: skip

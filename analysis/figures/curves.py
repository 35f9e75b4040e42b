"""Training curves: what the gate, |a - 1| and |b| did while the student learned, per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import method_style, new_figure, shared_legend
from analysis.records.cells import FloatArray

PANELS = {
    "distance": "student-teacher distance",
    "gate": "gate",
    "slope_error": "mean |a − 1|",
    "intercept_error": "mean |b|",
}


def curve_figure(curves: Mapping[str, Sequence[pa.Table]], methods: Sequence[str]) -> Figure | None:
    """One panel a quantity that was recorded: thin lines of the members, a thick one of their median, per method.

    `curves` maps a method to its members' curves (CURVE_SCHEMA). None where nothing was recorded.
    """
    panels = [name for name in PANELS if any(_known(table, name) for tables in curves.values() for table in tables)]
    if not panels:
        return None
    figure, all_axes = new_figure(len(panels), inches=(4.6, 2.3))
    styles = method_style(methods)
    for name, axes in zip(panels, all_axes, strict=True):
        for method, tables in curves.items():
            _lines(axes, [table for table in tables if _known(table, name)], name, styles[method]["color"], method)
        axes.set_ylabel(PANELS[name])
        if name == "distance":
            axes.set_yscale("log")
    all_axes[-1].set_xlabel("training step")
    shared_legend(figure)
    return figure


def _known(table: pa.Table, name: str) -> bool:
    return len(table) > 0 and table.column(name).null_count < len(table)


def _lines(axes: Axes, tables: Sequence[pa.Table], name: str, colour: str, method: str) -> None:
    series = []
    for table in tables:
        steps, values = _column(table, "step"), _column(table, name)
        axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.35)
        series.append((steps, values))
    if not series:
        return
    longest = max((steps for steps, _ in series), key=len)
    full = [values for steps, values in series if len(steps) == len(longest) and (steps == longest).all()]
    axes.plot(longest, np.median(np.stack(full), axis=0), color=colour, label=method)


def _column(table: pa.Table, name: str) -> FloatArray:
    return np.array([np.nan if value is None else value for value in table.column(name).to_pylist()], dtype=np.float64)

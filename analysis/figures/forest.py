"""Effects as a forest plot: every declared comparison over all teachers, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, label_decades, new_figure
from analysis.statistics.family import Hypothesis

MAX_ROWS = 40
_LABELS = {
    "mean": "difference of mean FID\n(left of the line: the first is better)",
    "spread": "ratio of spreads\n(left of the line: the first is steadier)",
}


def forest_figure(hypotheses: Sequence[Hypothesis], kind: str) -> Figure | None:
    """The comparisons of `kind` (mean or spread) over all teachers, in the order of the sequence; None without any.

    Filled: supported in the sequence as a whole. An interval without an end points out of the picture.
    """
    rows = [one for one in hypotheses if one.kind == kind and one.teacher is None and _drawable(one)][:MAX_ROWS]
    if not rows:
        return None
    figure, (axes,) = new_figure(1, inches=(4.6, 1.2 + 0.34 * len(rows)))
    ratio = kind == "spread"
    low, high = _range(rows, ratio=ratio)
    for place, one in enumerate(rows):
        _row(axes, place, one, (low, high))
    if ratio:
        axes.set_xscale("log")
        label_decades(axes.xaxis)
    axes.axvline(1.0 if ratio else 0.0, color="#888888", linewidth=1)
    axes.set_xlim(low, high)
    axes.set_yticks(range(len(rows)), [f"{one.a} − {one.b}" if not ratio else f"{one.a} / {one.b}" for one in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(_LABELS[kind], loc="right")  # room to the left, below the names of the methods
    axes.grid(axis="y", visible=False)
    return figure


def _drawable(one: Hypothesis) -> bool:
    return math.isfinite(one.estimate) and (one.kind == "mean" or one.estimate > 0)


def _row(axes: Axes, place: int, one: Hypothesis, limits: tuple[float, float]) -> None:
    colour = COLOURS[1] if one.stage.startswith("primary") else COLOURS[0]
    ends = [end if not math.isnan(end) else one.estimate for end in one.interval]
    low, high = max(ends[0], limits[0]), min(ends[1], limits[1])
    axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
    for end, shown, marker in ((ends[0], low, "<"), (ends[1], high, ">")):
        if end != shown:
            axes.plot(shown, place, marker=marker, color=colour, markersize=6, clip_on=False)
    axes.plot(one.estimate, place, marker="o", color=colour, markersize=6.5,
              markerfacecolor=colour if one.supported else "white")  # fmt: skip


def _range(rows: Sequence[Hypothesis], *, ratio: bool) -> tuple[float, float]:
    """What the axis shows: all estimates and the finite ends that are not far beyond them, and no difference."""
    values = [one.estimate for one in rows] + [1.0 if ratio else 0.0]
    ends = [end for one in rows for end in one.interval if math.isfinite(end) and (end > 0 or not ratio)]
    if ratio:
        low, high = min(values), max(values)
        near = [end for end in ends if low / 10 <= end <= high * 10]
        return min([*values, *near]) / 1.3, max([*values, *near]) * 1.3
    reach = max(max(values) - min(values), 1e-9)
    near = [end for end in ends if min(values) - 3 * reach <= end <= max(values) + 3 * reach]
    low, high = min([*values, *near]), max([*values, *near])
    margin = 0.06 * max(high - low, 1e-9)
    return low - margin, high + margin

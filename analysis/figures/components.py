"""What a std is made of: shares of the variance, stacked, with the std that they make."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, new_figure, shared_legend
from analysis.results.text import number
from analysis.statistics.components import Component, Components

MAX_ROWS = 30


def components_figure(rows: Sequence[tuple[str, Components]]) -> Figure | None:
    """A bar a row: the parts of the variance of a new FID in percent, and its std in FID points; None without rows.

    A component that came out below zero by chance is drawn as zero.
    """
    named = [(label, _parts(one)) for label, one in rows]
    shown = [(label, parts) for label, parts in named if sum(variance for _, _, variance in parts) > 0][:MAX_ROWS]
    if not shown:
        return None
    figure, (axes,) = new_figure(1, inches=(4.6, 1.3 + 0.32 * len(shown)))
    for place, (_, parts) in enumerate(shown):
        total, left = sum(variance for _, _, variance in parts), 0.0
        for name, colour, variance in parts:
            share = 100 * variance / total
            axes.barh(place, share, left=left, color=colour, height=0.7, label=name)
            left += share
        axes.text(101, place, f"std {number(total**0.5)}", va="center", fontsize=8.5)
    axes.set_yticks(range(len(shown)), [label for label, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the variance, %")
    axes.grid(axis="y", visible=False)
    shared_legend(figure)
    return figure


def _parts(one: Components) -> list[tuple[str, str, float]]:
    named: list[tuple[str, str, Component | None]] = [
        ("student seed", COLOURS[0], one.student),
        ("student seed and evaluation", COLOURS[5], one.student_and_evaluation if one.student is None else None),
        ("evaluation noise", COLOURS[4], one.evaluation),
        ("training of the teacher", COLOURS[1], one.teacher),
    ]
    return [(name, colour, max(part.variance, 0.0)) for name, colour, part in named if part is not None]

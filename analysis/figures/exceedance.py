"""Stability without a threshold: the share of tries whose FID is above x, for every x."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.style import method_style, new_figure, shared_legend
from analysis.statistics.common_seeds import Tries, ranking
from analysis.statistics.stability_curves import curve_positions, exceedance

MAX_CURVES = 8  # methods, the best


def exceedance_figure(tries: Tries, styled: list[str]) -> Figure | None:
    """One curve a method over all common tries, teachers counted alike; None where no FID is finite.

    `styled`: all methods of the report, which fixes their colours. A diverged member is above every x, so a curve ends
    at the share of diverged tries.
    """
    shown = sorted(ranking(tries)[:MAX_CURVES])
    x = curve_positions(tries.fid[shown])
    if not len(x):
        return None
    figure, (axes,) = new_figure(1, inches=(4.6, 3.0))
    styles = method_style(styled)
    span = float(x[-1] - x[0]) or max(abs(float(x[0])), 1.0)
    left = x[0] / 1.1 if x[0] > 0 else x[0] - 0.04 * span
    places = np.concatenate([[left], x, [x[-1] + 0.04 * span]])
    for place in shown:
        name = tries.methods[place]
        curve = exceedance(tries.fid[place], places).mean(axis=0)
        axes.step(places, curve, where="post", color=styles[name]["color"], label=name)
    if x[0] > 0 and x[-1] / x[0] > 8:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("x")
    axes.set_ylabel("share of tries with FID > x")
    shared_legend(figure)
    return figure

"""Figures of the search: the best score so far against the budget spent, and mean against spread of every trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import method_style, new_figure
from analysis.results.searches import Arm, best_so_far, pareto_front
from analysis.statistics.summary import mean, std


def best_so_far_figure(arms: Sequence[Arm]) -> Figure | None:
    """A panel a teacher, a line a method; None where no trial has a score."""
    arms = [arm for arm in arms if len(arm.trials) > 1 and np.isfinite(best_so_far(arm)).any()]
    if not arms:
        return None
    teachers, styles = _teachers(arms), method_style(_methods(arms))
    figure, all_axes = new_figure(len(teachers), inches=(4.6, 2.8))
    for teacher, axes in zip(teachers, all_axes, strict=True):
        for arm in arms:
            if arm.teacher == teacher:
                best = best_so_far(arm)
                known = np.isfinite(best)  # until a trial finishes without a member that diverged there is none
                trials = np.arange(1, len(best) + 1)
                axes.plot(
                    trials[known], best[known], drawstyle="steps-post", label=arm.method, markersize=4,
                    **styles[arm.method],
                )  # fmt: skip
        axes.set_xlabel("trials (the same cost for every method)")
        axes.set_ylabel("best score so far")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(teacher, fontsize="medium")
        axes.legend()
    return figure


def pareto_figure(arms: Sequence[Arm]) -> Figure | None:
    """Every trial's mean and std over its search seeds; lines join the trials that no other beats in both."""
    arms = [arm for arm in arms if pareto_front(arm)]
    if not arms:
        return None
    teachers, styles = _teachers(arms), method_style(_methods(arms))
    figure, all_axes = new_figure(len(teachers), inches=(4.6, 2.8))
    for teacher, axes in zip(teachers, all_axes, strict=True):
        for arm in arms:
            if arm.teacher == teacher:
                style = styles[arm.method]
                points = np.array([(mean(trial.fid), std(trial.fid)) for trial in arm.trials])
                front = np.array([(mean(trial.fid), std(trial.fid)) for trial in pareto_front(arm)])
                axes.plot(*points.T, linestyle="", alpha=0.4, markersize=5, markeredgewidth=0, **style)
                axes.plot(*front.T, markersize=6, label=arm.method, **style)
        axes.set_xlabel("mean FID over the search seeds")
        axes.set_ylabel("std")
        axes.set_title(teacher, fontsize="medium")
        axes.legend()
    return figure


def _methods(arms: Sequence[Arm]) -> list[str]:
    return sorted({arm.method for arm in arms})


def _teachers(arms: Sequence[Arm]) -> list[str]:
    return list(dict.fromkeys(arm.teacher for arm in arms))

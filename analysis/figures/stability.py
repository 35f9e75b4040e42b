"""The paper's Figure 1 for any study: FID mean, std and every single try against the size of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.style import REFERENCE, label_decades, method_style, new_figure
from analysis.records.cells import NO_TEACHER, methods_of
from analysis.results.text import count_text, number
from analysis.statistics.summary import Entry

MAX_POINTS = 400  # beyond this, single tries are left out of the picture


def stability_figure(entries: Sequence[Entry]) -> tuple[Figure, dict[str, str]]:
    """Two panels over teacher_params: mean +- std with every try, std with its interval; and the hover texts.

    With one size of teacher there is no gap to draw: the panels are over the methods. FIDs that are not finite are not
    drawn.
    """
    figure, (top, bottom) = new_figure(2)
    titles: dict[str, str] = {}
    methods = methods_of([cell for cell, _ in entries])
    styles = method_style(methods)
    show_tries = sum(len(cell.fid) for cell, _ in entries) <= MAX_POINTS
    if len({cell.teacher_params for cell, _ in entries if cell.teacher is not None}) < 2:
        for place, entry in enumerate(entries):
            style = {**styles[entry[0].method], "linestyle": ""}
            _mean_line(top, np.array([float(place)]), [entry], style)
            _std_line(bottom, np.array([float(place)]), [entry], style)
            if show_tries:
                titles.update(_tries(top, np.array([place + 0.25]), [entry], style, place))
        _method_axes(top, bottom, entries)
        _name_values(top, bottom, show_tries)
        return figure, titles
    for place, method in enumerate(methods):
        series = [entry for entry in entries if entry[0].method == method and entry[0].teacher is not None]
        if not series:
            _reference(top, bottom, [entry for entry in entries if entry[0].method == method])
            continue
        shift = 1.02 ** (place - len(methods) / 2)  # side by side, so that bars of one teacher do not hide each other
        sizes = np.array([float(cell.teacher_params or 0) for cell, _ in series]) * shift
        _mean_line(top, sizes, series, styles[method])
        _std_line(bottom, sizes, series, styles[method])
        if show_tries:
            titles.update(_tries(top, sizes, series, styles[method], place))
    _axes(top, bottom, entries)
    _name_values(top, bottom, show_tries)
    return figure, titles


def _mean_line(axes: Axes, sizes: np.ndarray, series: Sequence[Entry], style: dict[str, Any]) -> None:
    means = _finite([summary.fid_mean for _, summary in series])
    stds = np.nan_to_num(_finite([summary.fid_std for _, summary in series]))
    _line(axes, sizes, means, style)
    points = {**style, "linestyle": "", "label": series[0][0].method}
    axes.errorbar(sizes, means, yerr=stds, capsize=2.5, elinewidth=1, markersize=5.5, **points)


def _std_line(axes: Axes, sizes: np.ndarray, series: Sequence[Entry], style: dict[str, Any]) -> None:
    stds = _finite([summary.fid_std for _, summary in series])
    bounds = _finite([summary.fid_std_interval for _, summary in series])
    errors = np.abs(bounds.T - stds)
    _line(axes, sizes, stds, style)
    points = {**style, "linestyle": ""}
    axes.errorbar(sizes, stds, yerr=np.nan_to_num(errors), capsize=3, markersize=5, elinewidth=0.9, **points)


def _line(axes: Axes, sizes: np.ndarray, values: np.ndarray, style: dict[str, Any]) -> None:
    """From size to size, through the mean of what the trainings of a teacher of that size gave."""
    places = np.unique(sizes)
    means = [np.mean(values[sizes == place]) for place in places]
    axes.plot(places, means, **{**style, "marker": ""})


def _tries(axes: Axes, sizes: np.ndarray, series: Sequence[Entry], style: dict[str, Any], place: int) -> dict[str, str]:
    titles = {}
    for column, (size, (cell, _)) in enumerate(zip(sizes, series, strict=True)):
        for seed, fid, collapsed in zip(cell.seeds, cell.fid, cell.collapsed, strict=True):
            if not np.isfinite(fid):
                continue
            gid = f"try-{place}-{column}-{seed}"
            note = ", collapsed" if collapsed else ""
            titles[gid] = f"{cell.method}, {cell.teacher_name}, seed {seed}: FID {number(fid)}{note}"
            axes.plot(size, fid, marker=style["marker"], color=style["color"], alpha=0.45, markersize=4.5,
                      markeredgewidth=0, linestyle="", gid=gid)  # fmt: skip
    return titles


def _reference(top: Axes, bottom: Axes, series: Sequence[Entry]) -> None:
    for cell, summary in series:
        if not np.isfinite(summary.fid_mean):
            continue
        label = f"{cell.method} ({NO_TEACHER})"
        spread = float(np.nan_to_num(_finite([summary.fid_std]))[0])
        top.axhline(summary.fid_mean, color=REFERENCE, linestyle="--", linewidth=1.3, label=label)
        top.axhspan(summary.fid_mean - spread, summary.fid_mean + spread, color=REFERENCE, alpha=0.12)
        if spread > 0:
            bottom.axhline(spread, color=REFERENCE, linestyle="--", linewidth=1.3)


def _axes(top: Axes, bottom: Axes, entries: Sequence[Entry]) -> None:
    sizes = {float(cell.teacher_params): cell for cell, _ in entries if cell.teacher_params}
    for axes in (top, bottom):
        if sizes:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            ticks = _apart(sorted(sizes))
            axes.xaxis.set_major_locator(FixedLocator(ticks))
            axes.set_xticklabels([f"{count_text(size)}\n×{sizes[size].capacity_gap:.3g}" for size in ticks])
        axes.set_xlabel("teacher parameters and capacity gap")
    _value_axes(top, bottom, entries)


def _method_axes(top: Axes, bottom: Axes, entries: Sequence[Entry]) -> None:
    for axes in (top, bottom):
        axes.set_xticks(range(len(entries)), [cell.method for cell, _ in entries], rotation=30, ha="right")
        axes.grid(axis="x", visible=False)
    _value_axes(top, bottom, entries)


def _value_axes(top: Axes, bottom: Axes, entries: Sequence[Entry]) -> None:
    """Logarithmic where values differ by more than a factor of 8 and none is zero."""
    tries = np.concatenate([cell.fid for cell, _ in entries])
    stds = np.array([summary.fid_std for _, summary in entries])
    for axes, values in ((top, tries), (bottom, stds)):
        known = values[np.isfinite(values)]
        if len(known) > 1 and known.min() > 0 and known.max() / known.min() > 8:
            axes.set_yscale("log")
            label_decades(axes.yaxis)
    handles, labels = top.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    top.figure.legend(list(unique.values()), list(unique), loc="outside upper center", ncols=2)


def _name_values(top: Axes, bottom: Axes, show_tries: bool) -> None:
    top.set_ylabel("FID, mean ± std and every try" if show_tries else "FID, mean ± std")
    bottom.set_ylabel("std of FID, 95% interval")


def _finite(values: Sequence[float] | Sequence[tuple[float, float]]) -> np.ndarray:
    found = np.array(values, dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def _apart(sizes: Sequence[float]) -> list[float]:
    """The sizes whose tick labels do not run into the one before, on a logarithmic axis."""
    kept = [sizes[0]]
    room = (sizes[-1] / sizes[0]) ** (1 / 7)
    for size in sizes[1:]:
        if size / kept[-1] >= room:
            kept.append(size)
    return kept

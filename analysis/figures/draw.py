"""Draws and saves every figure that the results have data for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from analysis.figures.components import components_figure
from analysis.figures.cost import cost_figure
from analysis.figures.curves import curve_figure
from analysis.figures.errors import error_figure
from analysis.figures.exceedance import exceedance_figure
from analysis.figures.forest import forest_figure
from analysis.figures.gallery import error_maps, run_ids_with
from analysis.figures.searches import best_so_far_figure, pareto_figure
from analysis.figures.settings import SETTINGS, settings_figure
from analysis.figures.stability import stability_figure
from analysis.figures.style import save_figure, style_context
from analysis.figures.trends import trend_figure
from analysis.records.cells import Cell, teachers_of
from analysis.records.rows import curves_dir, read_curve
from analysis.results.compute import Results, records_of, rows_of

MAX_CURVES = 5  # members a method
MAX_METHODS = 10  # in one figure
_STABILITY = (
    "Mean FID ± std with every single try, and the std with its 95% interval, against the size of the teacher (×: "
    "capacity gap). Lower is better; a lucky run is one low dot, a stable method is a flat, low line."
)
_FOREST = (
    "The declared comparisons over all teachers: the primary pair, then every other method against the baseline, with "
    "95% intervals that hold at once for all but the primary pair. Filled: supported."
)
_EXCEEDANCE = (
    "How often a FID above x comes out, over the common seeds: lower and further left is better, a long tail to the "
    "right is what collapse looks like. No threshold is needed."
)
_TRENDS = (
    "What one doubling of the capacity gap does to the mean and to the std of each method, teachers as units, with 95% "
    "intervals, cut off at three times the slopes; small marks: the slope without each teacher. Shown only, not tested."
)
_COMPONENTS = "What the variance of a FID is made of, in percent; the std that it makes in FID points."


@dataclass(frozen=True)
class Drawing:
    """A figure in the page: SVG text, and what it shows in words."""

    svg: str
    caption: str


def draw_figures(results: Results, folder: Path) -> dict[str, Drawing]:
    """Writes every figure as SVG and PNG into `folder` and returns them by name; those without data are left out."""
    found: dict[str, Drawing] = {}
    results = _best_only(results)
    with style_context():
        _draw_comparison(results, folder, found)
        costs = cost_figure(results.entries, results.methods)
        if costs:
            found["cost"] = Drawing(
                save_figure(costs[0], folder, "cost", costs[1]),
                "Device-seconds of a member against its FID, a point a cell.",
            )
        _draw_settings(results, folder, found)
        _draw_search(results, folder, found)
        _draw_study_files(results, folder, found)
    return found


def _draw_comparison(results: Results, folder: Path, found: dict[str, Drawing]) -> None:
    """Stability, effects, curves, trends and components, all of the compared tries."""
    if results.entries:
        figure, titles = stability_figure(results.entries)
        found["stability"] = Drawing(save_figure(figure, folder, "stability", titles), _STABILITY)
    for kind in ("mean", "spread"):
        forest = forest_figure(results.family.hypotheses, kind) if results.family else None
        if forest is not None:
            found[f"forest_{kind}"] = Drawing(save_figure(forest, folder, f"forest_{kind}"), _FOREST)
    curves = exceedance_figure(results.tries, results.methods) if results.tries else None
    if curves is not None:
        found["exceedance"] = Drawing(save_figure(curves, folder, "exceedance"), _EXCEEDANCE)
    gap = [trend for trend in results.trends if trend.axis == "capacity gap"]
    if gap:
        found["trends"] = Drawing(save_figure(trend_figure(gap, results.methods), folder, "trends"), _TRENDS)
    parts = components_figure(results.components)
    if parts is not None:
        found["components"] = Drawing(save_figure(parts, folder, "components"), _COMPONENTS)


def _best_only(results: Results) -> Results:
    """The results of the MAX_METHODS best methods, where there are more than a figure can show."""
    if len(results.methods) <= MAX_METHODS:
        return results
    means = {
        method: float(np.mean([summary.fid_mean for cell, summary in results.entries if cell.method == method]))
        for method in {cell.method for cell, _ in results.entries}
    }
    best = sorted(means, key=lambda method: (np.isnan(means[method]), means[method], method))[:MAX_METHODS]
    return replace(
        results,
        entries=[entry for entry in results.entries if entry[0].method in best],
        trends=[trend for trend in results.trends if trend.method in best],
    )


def _draw_settings(results: Results, folder: Path, found: dict[str, Drawing]) -> None:
    columns = ["run_id", "method", "fid", *SETTINGS]
    for name, phases, caption in (
        ("group_size", ("grid",), "FID against the settings that the grid varied."),
        ("search", ("search",), "FID of every searched member against its settings."),
    ):
        rows = records_of(rows_of(results.runs, phases), columns)
        figure = settings_figure(rows, sorted({row["method"] for row in rows}))
        if figure is not None:
            found[name] = Drawing(save_figure(figure, folder, name), caption)


def _draw_search(results: Results, folder: Path, found: dict[str, Drawing]) -> None:
    best, pareto = best_so_far_figure(results.arms), pareto_figure(results.arms)
    if best is not None:
        found["best_so_far"] = Drawing(
            save_figure(best, folder, "best_so_far"),
            "The best score that each method's search had found, against the trials that it had spent.",
        )
    if pareto is not None:
        found["pareto"] = Drawing(
            save_figure(pareto, folder, "pareto"),
            "Mean and std of every trial over its search seeds; the lines join those that no other beats in both.",
        )


def _draw_study_files(results: Results, folder: Path, found: dict[str, Drawing]) -> None:
    """Figures from files beside the records; with several studies, of the first that has them."""
    cells = [cell for cell, _ in results.entries]
    for study_dir in filter(None, results.study_dirs.values()):
        curves = _largest_teachers_curves(cells, study_dir)
        figure = curve_figure(curves, results.methods)
        if figure is not None and "curves" not in found:
            found["curves"] = Drawing(
                save_figure(figure, folder, "curves"),
                "Training at the largest teacher: thin lines are single members, thick ones their median. The "
                "gate opens as |a − 1| and |b| fall.",
            )
        figure = error_figure(error_maps(cells, study_dir))
        if figure is not None and "errors" not in found:
            found["errors"] = Drawing(
                save_figure(figure, folder, "errors"),
                "Squared student-teacher error at the largest teacher over timesteps (yellow: large), and PLACE's "
                "groups on the image (dark: the group with the smallest errors).",
            )


def _largest_teachers_curves(cells: list[Cell], study_dir: Path) -> Mapping[str, list[pa.Table]]:
    teachers = teachers_of(cells)
    largest = teachers[-1] if teachers else None
    curves: dict[str, list[pa.Table]] = {}
    with_curve = run_ids_with(curves_dir(study_dir), ".parquet")
    for cell in cells:
        if cell.teacher not in (largest, None):
            continue
        present = [run_id for run_id in cell.run_ids if run_id in with_curve]
        tables = [read_curve(study_dir, run) for run in present[:MAX_CURVES]]
        if any(len(table) for table in tables):
            curves[cell.method] = [table for table in tables if len(table)]
    return curves

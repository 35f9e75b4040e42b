"""Draws and saves every figure that the results have data for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from analysis.figures.cost import cost_figure
from analysis.figures.curves import curve_figure
from analysis.figures.errors import error_figure
from analysis.figures.gallery import error_maps, run_ids_with
from analysis.figures.searches import best_so_far_figure, pareto_figure
from analysis.figures.settings import SETTINGS, settings_figure
from analysis.figures.stability import stability_figure
from analysis.figures.style import save_figure, style_context
from analysis.figures.trends import trend_figure
from analysis.records.cells import Cell, teachers_of
from analysis.records.rows import curves_dir, read_curve
from analysis.results.compute import Results, records_of, rows_of
from analysis.statistics.tries import MAX_METHODS, best_methods

MAX_CURVES = 5  # members a method


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
        if results.entries:
            figure, titles = stability_figure(results.entries)
            found["stability"] = Drawing(
                save_figure(figure, folder, "stability", titles),
                "Mean FID ± std with every single try, and the std with its 95% interval, against the size of the "
                "teacher (×: capacity gap). Lower is better; a lucky run is one low dot, a stable method is a flat, "
                "low line.",
            )
        gap = [trend for trend in results.trends if trend.axis == "capacity gap"]
        if gap:
            found["trends"] = Drawing(
                save_figure(trend_figure(gap, results.methods), folder, "trends"),
                "What one doubling of the capacity gap does to the mean and to the std of each method; 95% intervals.",
            )
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


def _best_only(results: Results) -> Results:
    """The results of the MAX_METHODS best methods, where there are more than a figure can show."""
    if len(results.methods) <= MAX_METHODS:
        return results
    cells = [cell for cell, _ in results.entries]
    best = best_methods(cells)[:MAX_METHODS]
    return replace(
        results,
        methods=[method for method in results.methods if method in best],
        entries=[entry for entry in results.entries if entry[0].method in best],
        trends=[trend for trend in results.trends if trend.method in best],
    )


def _draw_settings(results: Results, folder: Path, found: dict[str, Drawing]) -> None:
    columns = ["run_id", "method", "fid", *SETTINGS]
    for name, phases, caption in (
        ("group_size", ("grid", "ablation"), "FID against the settings that the grid and the ablation varied."),
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

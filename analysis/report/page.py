"""The page: one self-contained HTML file made from a template that escapes whatever it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.figures.draw import Drawing
from analysis.figures.gallery import Picture, sample_pictures
from analysis.records.cells import teachers_of
from analysis.report import page_searches as page_tuning
from analysis.report.page_tables import MAX_SEARCHED, all_tables, calibration_table, search_table
from analysis.report.side_by_side import beside_the_paper
from analysis.results.compute import STABLE_PHASES, Results, records_of, rows_of
from analysis.statistics.calibration import shipped

_SEARCHED = ("group_size", "coarse_norm", "gate", "lambda_out", "lambda_feat")
_SEARCH_COLUMNS = ("run_id", "method", "teacher", *_SEARCHED, "seed", "fid")


def render_page(results: Results, figures: Mapping[str, Drawing], reproduced: Mapping[str, Any]) -> str:
    """The HTML of the report. SVG made by save_figure is put in as it is; everything else is escaped."""
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures, left_out = _pictures(results)
    search = rows_of(results.runs, ("search",))
    rates = shipped()
    headline, _, summary = results.findings.summary.partition(". ")
    return environment.get_template("report.html.jinja").render(
        title=" and ".join(results.runs),
        headline=headline,
        summary=summary,
        findings=results.findings,
        tables=all_tables(results),
        figures={name: {"svg": Markup(one.svg), "caption": one.caption} for name, one in figures.items()},
        pictures=pictures,
        pictures_left_out=left_out,
        search=search_table(records_of(search, _SEARCH_COLUMNS)),
        num_searched=len(search),
        max_searched=MAX_SEARCHED,
        tuning=_tuning(results),
        not_compared=results.not_compared,
        beside=beside_the_paper(results.entries, rows_of(results.runs, STABLE_PHASES)),
        coverage=calibration_table(rates, "coverage"),
        false_positives=calibration_table(rates, "false positives"),
        num_teachers=len(teachers_of([cell for cell, _ in results.entries])),
        num_single=sum(one.teacher is not None for one in results.comparisons),
        paired=results.paired,
        reproduce=reproduced,
    )


def _tuning(results: Results) -> dict[str, Any]:
    arms = results.arms
    return {
        "budget": page_tuning.budget_table(arms),
        "confirm": page_tuning.confirm_table(arms),
        "importance": page_tuning.importance_table(arms),
        "lines": page_tuning.override_lines(arms),
        "notes": page_tuning.notes(arms),
    }


def _pictures(results: Results) -> tuple[Sequence[Picture], int]:
    cells = [cell for cell, _ in results.entries]
    found: list[Picture] = []
    left_out = 0
    for study_dir in filter(None, results.study_dirs.values()):
        pictures, dropped = sample_pictures(cells, study_dir)
        found, left_out = [*found, *pictures], left_out + dropped
    return found, left_out

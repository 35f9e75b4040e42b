"""The page: one self-contained HTML file made from a template that escapes whatever it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.figures.draw import Drawing
from analysis.figures.gallery import Picture, sample_pictures
from analysis.report import page_searches
from analysis.report.page_tables import MAX_SEARCHED, all_tables, calibration_table, search_table
from analysis.report.side_by_side import beside_the_paper
from analysis.results.compute import STABLE_PHASES, Results, records_of, rows_of
from analysis.results.text import number
from analysis.statistics.calibration import shipped
from analysis.statistics.family import DESCRIPTIVE

MAX_UNDECIDED = 10
_SEARCHED = ("group_size", "coarse_norm", "gate", "lambda_out", "lambda_feat")
_SEARCH_COLUMNS = ("run_id", "method", "teacher", *_SEARCHED, "seed", "fid")
_DOWNLOADS = ("stability.csv", "stability.md", "stability.tex", "report.json")


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
    family = results.family
    return environment.get_template("report.html.jinja").render(
        title=" and ".join(results.runs),
        findings=results.findings,
        max_undecided=MAX_UNDECIDED,
        diagnostics=results.diagnostics,
        tables=all_tables(results),
        figures={name: {"svg": Markup(one.svg), "caption": one.caption} for name, one in figures.items()},
        pictures=pictures,
        pictures_left_out=left_out,
        real=next(iter(results.real_images.values()), None),
        search=search_table(records_of(search, _SEARCH_COLUMNS)),
        num_searched=len(search),
        max_searched=MAX_SEARCHED,
        tuning=_tuning(results),
        not_compared=results.not_compared,
        beside=beside_the_paper(results.entries, rows_of(results.runs, STABLE_PHASES)),
        calibration={kind: calibration_table(rates, kind) for kind in ("coverage", "error", "power")},
        num_single=sum(one.stage == DESCRIPTIVE for one in family.hypotheses) if family else 0,
        declared=None if family is None else {"baseline": family.baseline, "primary": family.primary},
        settings=results.settings,
        paired=results.tries is not None and results.tries.paired,
        downloads=_DOWNLOADS if results.entries else ("report.json",),
        reproduce=reproduced,
    )


def _tuning(results: Results) -> dict[str, Any]:
    arms = results.arms
    return {
        "budget": page_searches.budget_table(arms),
        "confirm": page_searches.confirm_table(arms),
        "importance": page_searches.importance_table(arms),
        "lines": page_searches.override_lines(arms),
        "notes": page_searches.notes(arms),
    }


def _pictures(results: Results) -> tuple[list[dict[str, Any]], int]:
    """The grids with their FIDs, and how many were left out."""
    cells = [cell for cell, _ in results.whole]
    found: list[Picture] = []
    left_out = 0
    for name, study_dir in results.study_dirs.items():
        if study_dir is not None:
            pictures, dropped = sample_pictures(cells, study_dir, results.real_images.get(name))
            found, left_out = [*found, *pictures], left_out + dropped
    return [{**vars(one), "fid": number(one.fid, 1)} for one in dict.fromkeys(found)], left_out

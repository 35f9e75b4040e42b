"""Writes the whole report of one or more studies: from records to tables, figures and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.report.as_json import report_json
from analysis.report.stability_table import (
    csv_text,
    latex_table,
    markdown_table,
    stability_records,
    table_rows,
    terminal_table,
)
from analysis.results.compute import Results, compute
from analysis.results.reproduce import more_seeds, reproduce
from analysis.results.settings import ReportSettings
from storage import filled_folder


@dataclass(frozen=True)
class Report:
    """What a report came to: `text` is for a terminal (the table and the summary sentence), `index` is the page."""

    text: str
    index: Path


def write_report(
    study_dirs: Sequence[Path],
    report_dir: Path,
    *,
    published: str | None = None,
    seed: int = 0,
    settings: ReportSettings | None = None,
    where: Mapping[str, Any] | None = None,
    command: str | None = None,
    sweep: str | None = None,
) -> Report:
    """Reports the studies in `study_dirs` and the paper's table `published` into `report_dir`.

    Writes index.html, stability.csv, .md and .tex, report.json and figures/. The same records and seed give the same
    bytes. `settings` is what the report is asked, `where` chooses rows (analysis/records/protocol.py). `command` is
    shown as the way to make the report again, `sweep` as the way to run the study. Raises ValueError when there are no
    rows, when rows of different evaluation protocols are mixed, or when `published` names no table.
    """
    from analysis.figures.draw import draw_figures  # matplotlib and jinja2 only once the records are known to be good
    from analysis.report.page import render_page
    from analysis.report.page_searches import terminal_lines

    results = compute(study_dirs, published, seed, settings, where)
    reproduced = reproduce(results.runs, seed=seed, command=command, sweep=sweep)
    first = str(study_dirs[0]) if len(study_dirs) == 1 else None
    reproduced["more_seeds"] = more_seeds(sweep, first, results.findings.suggested_seeds)
    with filled_folder(report_dir, last="index.html") as folder:
        _write_tables(results, folder)
        _write(folder / "report.json", report_json(results, reproduced))
        figures = draw_figures(results, folder / "figures")
        _write(folder / "index.html", render_page(results, figures, reproduced))
    searched = "".join(f"{line}\n" for line in terminal_lines(results.arms))
    found = results.findings
    table = terminal_table(table_rows(results.entries, results.tries), results.settings.collapse_fid)
    text = f"{table}\n\n{searched}{found.headline} {found.best}".rstrip()
    return Report(text=text, index=report_dir / "index.html")


def _write_tables(results: Results, report_dir: Path) -> None:
    if not results.entries:  # a search alone
        return
    rows = table_rows(results.entries, results.tries)
    _write(report_dir / "stability.csv", csv_text(stability_records(results.whole)))
    _write(report_dir / "stability.md", markdown_table(rows, results.settings.collapse_fid))
    _write(report_dir / "stability.tex", latex_table(rows))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")

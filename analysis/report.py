"""Writes the whole report of one or more studies: from records to tables, figures and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.cells import Cell, group_cells
from analysis.published import published_runs
from analysis.records import check_one_protocol, read_runs
from analysis.summary import summarise
from analysis.tables import (
    Entry,
    csv_text,
    latex_table,
    markdown_table,
    stability_records,
    table_rows,
    terminal_table,
)


@dataclass(frozen=True)
class Report:
    """What a report came to: `text` is the table for a terminal, `index` the page."""

    text: str
    index: Path


def write_report(
    study_dirs: Sequence[Path],
    report_dir: Path,
    *,
    published: str | None = None,
    seed: int = 0,
    command: str | None = None,
) -> Report:
    """Reports the studies in `study_dirs`, or the paper's table `published`, into `report_dir`.

    The same records and seed give the same bytes. Raises ValueError when there are no rows, when rows of
    different evaluation protocols are mixed, or when `published` names no table.
    """
    report_dir = Path(report_dir)
    runs = _read(study_dirs, published)
    stable = [table.filter(_is_phase(table, ("grid", "confirm"))) for table in runs.values()]
    check_one_protocol(pa.concat_tables(stable))
    cells = _cells(dict(zip(runs, stable, strict=True)))
    if not cells:
        raise ValueError(f"there are no finished grid or confirm members in {', '.join(map(str, study_dirs))}")
    generator = np.random.default_rng(seed)
    entries = [(cell, summarise(cell, generator)) for cell in cells]
    report_dir.mkdir(parents=True, exist_ok=True)
    write_tables(entries, report_dir)
    figures = _figures(entries, report_dir)
    index = report_dir / "index.html"
    from analysis.page import render_page

    index.write_text(render_page(entries, figures, command=command), encoding="utf-8")
    return Report(text=terminal_table(table_rows(entries)), index=index)


def write_tables(entries: Sequence[Entry], report_dir: Path) -> None:
    """stability.csv with every number, and the table as Markdown and LaTeX."""
    rows = table_rows(entries)
    (report_dir / "stability.csv").write_text(csv_text(stability_records(entries)), encoding="utf-8")
    (report_dir / "stability.md").write_text(markdown_table(rows), encoding="utf-8")
    (report_dir / "stability.tex").write_text(latex_table(rows), encoding="utf-8")


def _read(study_dirs: Sequence[Path], published: str | None) -> dict[str, pa.Table]:
    """The rows by study: by the folder's name, or by the name of the published table."""
    runs = {published: published_runs(published)} if published else {}
    for study_dir in map(Path, study_dirs):
        table = read_runs(study_dir)
        if not len(table):
            raise ValueError(f"study_dir must hold finished members but {study_dir} has none")
        name = study_dir.resolve().name
        runs[name if name not in runs else str(study_dir)] = table
    if not runs:
        raise ValueError("study_dir or published must be given")
    return runs


def _cells(runs: Mapping[str, pa.Table]) -> list[Cell]:
    if len(runs) == 1:
        return group_cells(next(iter(runs.values())))
    return [cell for name, table in runs.items() for cell in group_cells(table, study=name)]


def _is_phase(table: pa.Table, phases: Sequence[str]) -> Any:
    import pyarrow.compute as pc

    return pc.is_in(table.column("phase"), value_set=pa.array(list(phases)))


def _figures(entries: Sequence[Entry], report_dir: Path) -> dict[str, str]:
    """The SVG of every figure by its name; each is also written as SVG and PNG."""
    from analysis.figure_stability import stability_figure
    from analysis.figure_style import save_figure, style_context

    with style_context():
        figure, titles = stability_figure(entries)
        return {"stability": save_figure(figure, report_dir / "figures", "stability", titles)}

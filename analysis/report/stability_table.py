"""The stability table as CSV, Markdown, LaTeX and plain text, in the shape of the paper's Table 6."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.cells import Cell
from analysis.results.text import number, teacher_text
from analysis.statistics.summary import Entry, Summary

MAX_TRIES = 10  # a cell with more lists its extremes instead of every try


@dataclass(frozen=True)
class TableRow:
    """One line of the table, as text; a rank is 1 for the best of its teacher, 2 for the second, else 0."""

    method: str
    teacher: str
    gap: str
    tries: str
    mean: str
    std: str
    collapsed: str
    mean_rank: int
    std_rank: int


def stability_records(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One flat dictionary a cell: the columns of stability.csv. A number that does not exist is None."""
    records = []
    for cell, summary in entries:
        record: dict[str, Any] = {
            "teacher": cell.teacher_name,
            "teacher_params": cell.teacher_params,
            "capacity_gap": cell.capacity_gap,
            "method": cell.method,
            "n": summary.n,
            "fid_mean": summary.fid_mean,
            "fid_std": summary.fid_std,
            **_bounds("fid_mean", summary.fid_mean_interval),
            **_bounds("fid_std", summary.fid_std_interval),
            "collapse_rate": summary.collapse_rate,
            **_bounds("collapse_rate", summary.collapse_rate_interval),
            "num_fid": summary.num_fid,
            "num_collapsed": summary.num_collapsed,
            "num_diverged": summary.num_diverged,
            "fid_median": summary.fid_median,
            **_bounds("fid_median", summary.fid_median_interval),
            "fid_median_coverage": summary.fid_median_coverage,
            "fid_q1": summary.fid_quartiles[0],
            "fid_q3": summary.fid_quartiles[1],
            "fid_min": summary.fid_min,
            "fid_max": summary.fid_max,
            "fid_cv": summary.fid_cv,
            "num_ok": summary.num_ok,
            "fid_mean_ok": summary.fid_mean_ok,
            "fid_std_ok": summary.fid_std_ok,
            **_bounds("fid_mean_bootstrap", summary.fid_mean_bootstrap),
            **_bounds("fid_std_bootstrap", summary.fid_std_bootstrap),
            "device_seconds_mean": summary.device_seconds_mean,
            "phase": cell.phase,
            "teacher_macs": cell.teacher_macs,
            "teacher_fid": cell.teacher_fid,
            "student_params": cell.student_params,
            "student_macs": cell.student_macs,
        }
        records.append({key: _finite(value) for key, value in record.items()})
    return records


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Comma-separated text with a header line; floats to ten significant digits, None as an empty field."""
    target = io.StringIO()
    writer = csv.DictWriter(target, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({key: f"{value:.10g}" if isinstance(value, float) else value for key, value in record.items()})
    return target.getvalue()


def table_rows(entries: Sequence[Entry]) -> list[TableRow]:
    """The lines of the table, by method and then by teacher size as in the paper."""
    ordered = sorted(
        entries, key=lambda entry: (entry[0].teacher is not None, entry[0].method, -(entry[0].teacher_params or 0))
    )
    ranks = _ranks(entries, lambda summary: summary.fid_mean), _ranks(entries, lambda summary: summary.fid_std)
    return [
        TableRow(
            method=cell.method,
            teacher=teacher_text(cell),
            gap="" if cell.capacity_gap is None else f"{cell.capacity_gap:.1f}",
            tries=_tries_text(cell),
            mean=number(summary.fid_mean),
            std=number(summary.fid_std),
            collapsed=f"{summary.num_collapsed + summary.num_diverged}/{summary.n}",
            mean_rank=ranks[0][id(cell)],
            std_rank=ranks[1][id(cell)],
        )
        for cell, summary in ordered
    ]


HEADER = ("method", "teacher", "gap", "tries (FID)", "mean", "std", "collapsed")


def markdown_table(rows: Sequence[TableRow]) -> str:
    """A Markdown table; the best mean and std of every teacher in bold, the second underlined."""
    marks = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|---:|---|---:|---:|---:|"]
    for row in rows:
        cells = _texts(row, marks, lambda text: text.replace("|", "\\|"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def latex_table(rows: Sequence[TableRow]) -> str:
    """A booktabs table; best bold, second underlined, mean +- std in one column."""
    marks = {0: "{}", 1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}
    lines = [
        r"\begin{tabular}{llrlr}",
        r"\toprule",
        r"Method & Teacher & Gap & FID of every try & Mean $\pm$ std \\",
        r"\midrule",
    ]
    for row in rows:
        method, teacher, gap, tries, mean, std, _ = _texts(row, marks, _latex_escape)
        lines.append(rf"{method} & {teacher} & {gap} & {tries} & {mean} $\pm$ {std} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def terminal_table(rows: Sequence[TableRow]) -> str:
    """Aligned plain text; a star marks the best mean and the best std of every teacher."""
    lines = [HEADER, *(_texts(row, {0: "{} ", 1: "{}*", 2: "{} "}, str) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    right = {2, 4, 5, 6}
    return "\n".join(
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _texts(row: TableRow, marks: Mapping[int, str], escape: Callable[[str], str]) -> tuple[str, ...]:
    mean = marks[row.mean_rank].format(row.mean)
    std = marks[row.std_rank].format(row.std)
    return escape(row.method), escape(row.teacher), row.gap, escape(row.tries), mean, std, row.collapsed


def _tries_text(cell: Cell) -> str:
    if len(cell.fid) > MAX_TRIES:
        known = cell.fid[~cell.diverged]
        return (
            f"{len(cell.fid)} tries, {number(known.min())} to {number(known.max())}" if len(known) else "all diverged"
        )
    return " ".join("diverged" if lost else number(fid) for fid, lost in zip(cell.fid, cell.diverged, strict=True))


def _ranks(entries: Sequence[Entry], value: Callable[[Summary], float]) -> dict[int, int]:
    """By id of the cell: its place (1, 2, else 0) within its teacher, where there is more than one cell to compare."""
    ranks = {id(cell): 0 for cell, _ in entries}
    for teacher in {cell.teacher for cell, _ in entries if cell.teacher is not None}:
        group = [(value(summary), id(cell)) for cell, summary in entries if cell.teacher == teacher]
        group = sorted((pair for pair in group if math.isfinite(pair[0])), key=lambda pair: pair[0])
        if len(group) > 1:
            ranks.update({key: place for place, (_, key) in enumerate(group[:2], start=1)})
    return ranks


def _bounds(name: str, interval: tuple[float, float]) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _latex_escape(text: str) -> str:
    for plain, escaped in (
        ("\\", r"\textbackslash "),
        ("_", r"\_"),
        ("%", r"\%"),
        ("&", r"\&"),
        ("#", r"\#"),
        ("$", r"\$"),
    ):
        text = text.replace(plain, escaped)
    return text

"""The stability table as CSV, Markdown, LaTeX and plain text, in the shape of the paper's Table 6."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.records.cells import Cell, FloatArray
from analysis.results.findings import is_blind
from analysis.results.text import number, teacher_text
from analysis.statistics.common_seeds import Tries
from analysis.statistics.summary import Entry, Summary, mean
from analysis.terminal import columns

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
            "kid_mean": _mean(cell.kid),
            "precision_mean": _mean(cell.precision),
            "recall_mean": _mean(cell.recall),
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


def table_rows(entries: Sequence[Entry], tries: Tries | None) -> list[TableRow]:
    """The lines of the table, by method and then by teacher size as in the paper.

    Only cells that are compared (those of `tries`) have a rank; there is none where FIDs tell nothing apart.
    """
    ordered = sorted(
        entries, key=lambda entry: (entry[0].teacher is not None, entry[0].method, -(entry[0].teacher_params or 0))
    )
    compared = [entry for entry in entries if tries is not None and _is_compared(entry[0], tries)]
    means = _ranks(compared, lambda summary: summary.fid_mean)
    stds = _ranks(compared, lambda summary: summary.fid_std)
    return [
        TableRow(
            method=cell.method,
            teacher=teacher_text(cell),
            gap="" if cell.capacity_gap is None else f"{cell.capacity_gap:.1f}",
            tries=_tries_text(cell),
            mean=_at_least(cell) + number(summary.fid_mean),
            std=number(summary.fid_std),
            collapsed=f"{int(cell.collapsed.sum())}/{len(cell.seeds)}",
            mean_rank=means.get(id(cell), 0),
            std_rank=stds.get(id(cell), 0),
        )
        for cell, summary in ordered
    ]


HEADER = ("method", "teacher", "gap", "tries (FID)", "mean", "std")


def header(collapse_fid: float | None) -> tuple[str, ...]:
    """The names of the columns; without a threshold of collapse the last counts what diverged alone."""
    return (*HEADER, "diverged" if collapse_fid is None else "collapsed")


def markdown_table(rows: Sequence[TableRow], collapse_fid: float | None) -> str:
    """A Markdown table; the best mean and std of every teacher in bold, the second underlined."""
    marks = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}
    lines = ["| " + " | ".join(header(collapse_fid)) + " |", "|---|---|---:|---|---:|---:|---:|"]
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


def terminal_table(rows: Sequence[TableRow], collapse_fid: float | None) -> str:
    """Aligned plain text of 80 columns; a star marks the best mean and the best std of every teacher."""
    marks = {0: "{} ", 1: "{}*", 2: "{} "}
    return "\n".join(columns([header(collapse_fid), *(_texts(row, marks, str) for row in rows)], right={2, 4, 5, 6}))


def _texts(row: TableRow, marks: Mapping[int, str], escape: Callable[[str], str]) -> tuple[str, ...]:
    mean = marks[row.mean_rank].format(row.mean)
    std = marks[row.std_rank].format(row.std)
    return escape(row.method), escape(row.teacher), row.gap, escape(row.tries), mean, std, row.collapsed


def _is_compared(cell: Cell, tries: Tries) -> bool:
    return cell.method in tries.methods and cell.teacher in (*tries.teachers, None) and not is_blind(tries)


def _at_least(cell: Cell) -> str:
    """A diverged member counts with the worst FID that was found, so its cell's mean is a lower bound."""
    return "≥ " if cell.diverged.any() and not cell.diverged.all() else ""


def _tries_text(cell: Cell) -> str:
    if len(cell.fid) > MAX_TRIES:
        known = cell.fid[~cell.diverged]
        return (
            f"{len(cell.fid)} tries, {number(known.min())} to {number(known.max())}" if len(known) else "all diverged"
        )
    return " ".join("diverged" if lost else number(fid) for fid, lost in zip(cell.fid, cell.diverged, strict=True))


def _ranks(entries: Sequence[Entry], value: Callable[[Summary], float]) -> dict[int, int]:
    """By id of the cell: its place (1, 2, else 0) within its teacher, where there is more than one cell to compare."""
    ranks = {}
    for teacher in {cell.teacher for cell, _ in entries if cell.teacher is not None}:
        group = [(value(summary), id(cell)) for cell, summary in entries if cell.teacher == teacher]
        group = sorted((pair for pair in group if math.isfinite(pair[0])), key=lambda pair: pair[0])
        if len(group) > 1:
            ranks.update({key: place for place, (_, key) in enumerate(group[:2], start=1)})
    return ranks


def _mean(values: FloatArray) -> float:
    return mean(values[~np.isnan(values)])


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

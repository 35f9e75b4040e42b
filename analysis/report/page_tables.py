"""The tables of the page as plain data: text, what to sort by, what shows under the pointer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.records.cells import FloatArray
from analysis.report.stability_table import TableRow, header, table_rows
from analysis.results.compute import Results
from analysis.results.findings import by_weight, shown
from analysis.results.sentences import effect_text, interval_text, ratio_text
from analysis.results.text import number, percent, signed, teacher_text
from analysis.statistics.calibration import Calibration
from analysis.statistics.common_seeds import Tries
from analysis.statistics.components import Component, Components
from analysis.statistics.family import DESCRIPTIVE, Hypothesis
from analysis.statistics.intervals import Interval
from analysis.statistics.summary import Entry
from analysis.statistics.teacher_trends import Trend

MAX_SEARCHED = 200
MAX_COMPARISONS = 300
Chances = Mapping[tuple[str, str], tuple[float, Interval]]


@dataclass(frozen=True)
class Datum:
    """A table cell: `text`, the `title` that shows under the pointer, the value to sort by, and a CSS class."""

    text: str
    title: str = ""
    sort: str | float = ""
    mark: str = ""


@dataclass(frozen=True)
class PageTable:
    header: tuple[str, ...]
    rows: tuple[tuple[Datum, ...], ...]
    numeric: frozenset[int] = field(default_factory=frozenset)  # columns that are set to the right


def main_table(entries: Sequence[Entry], tries: Tries | None, collapse_fid: float | None) -> PageTable:
    """The table of the report: tries, mean and std a cell, best bold, second underlined, intervals under the pointer.

    KID, precision, recall and the teacher's FID have a column where one of the cells has them.
    """
    by_label = {(cell.method, teacher_text(cell)): (cell, summary) for cell, summary in entries}
    rows = table_rows(entries, tries)
    own = [by_label[row.method, row.teacher] for row in rows]
    extra = {
        "teacher FID": [_teacher_datum(cell.teacher_fid) for cell, _ in own],
        "KID": [_mean_datum(cell.kid, 2) for cell, _ in own],
        "precision": [_mean_datum(cell.precision, 3) for cell, _ in own],
        "recall": [_mean_datum(cell.recall, 3) for cell, _ in own],
    }
    extra = {name: column for name, column in extra.items() if any(one.text != "–" for one in column)}
    names = (*header(collapse_fid), *extra)
    lines = tuple(
        (*_main_row(row, entry), *(column[place] for column in extra.values()))
        for place, (row, entry) in enumerate(zip(rows, own, strict=True))
    )
    return PageTable(names, lines, frozenset({2, *range(4, len(names))}))


def _mean_datum(values: FloatArray, digits: int) -> Datum:
    known = values[~np.isnan(values)]
    value = float(known.mean()) if len(known) else math.nan
    return Datum(number(value, digits), f"mean of {len(known)}", value if len(known) else "")


def _main_row(row: TableRow, entry: Entry) -> tuple[Datum, ...]:
    cell, summary = entry
    seeds = ", ".join(f"seed {seed}: {number(fid)}" for seed, fid in zip(cell.seeds[:20], cell.fid[:20], strict=True))
    low, high = map(percent, summary.collapse_rate_interval)
    return (
        Datum(row.method),
        Datum(row.teacher, "", cell.teacher_params or 0),
        Datum(row.gap or "–", "teacher parameters / student parameters", cell.capacity_gap or 0),
        Datum(row.tries, seeds, summary.fid_min, "tries"),
        Datum(row.mean, _interval_title(summary.fid_mean_interval), summary.fid_mean, f"rank{row.mean_rank}"),
        Datum(row.std, _interval_title(summary.fid_std_interval), summary.fid_std, f"rank{row.std_rank}"),
        Datum(row.collapsed, f"95% interval {low} to {high}", summary.collapse_rate),
    )


def cell_table(entries: Sequence[Entry]) -> PageTable:
    """Every statistic of every cell."""
    names = (
        "method", "teacher", "n", "mean [95%]", "std [95%]", "median [coverage]", "IQR", "min to max", "CV",
        "collapse rate [95%]", "mean and std without collapsed", "KID", "precision", "recall", "gap", "teacher FID",
    )  # fmt: skip
    return PageTable(names, tuple(_cell_row(entry) for entry in entries), frozenset({2, 8}))


def _cell_row(entry: Entry) -> tuple[Datum, ...]:
    cell, summary = entry
    low, high = summary.collapse_rate_interval
    count = f"{summary.n}" if summary.num_fid == summary.n else f"{summary.n} ({summary.num_fid} with FID)"
    texts = (
        cell.method, teacher_text(cell), count,
        f"{number(summary.fid_mean)} [{interval_text(summary.fid_mean_interval)}]",
        f"{number(summary.fid_std)} [{interval_text(summary.fid_std_interval)}]",
        f"{number(summary.fid_median)} [{interval_text(summary.fid_median_interval)}: "
        f"{summary.fid_median_coverage:.1%}]",
        number(summary.fid_quartiles[1] - summary.fid_quartiles[0]),
        f"{number(summary.fid_min)} to {number(summary.fid_max)}", number(summary.fid_cv),
        f"{percent(summary.collapse_rate)} [{percent(low)} to {percent(high)}]",
        f"{number(summary.fid_mean_ok)} ± {number(summary.fid_std_ok)} (n = {summary.num_ok})",
    )  # fmt: skip
    sorts: tuple[str | float, ...] = (
        "", cell.teacher_params or 0, summary.n, summary.fid_mean, summary.fid_std, summary.fid_median, "",
        summary.fid_min, summary.fid_cv, summary.collapse_rate, summary.fid_mean_ok,
    )  # fmt: skip
    quality = (_mean_datum(cell.kid, 2), _mean_datum(cell.precision, 3), _mean_datum(cell.recall, 3))
    teacher = (_teacher_datum(cell.capacity_gap), _teacher_datum(cell.teacher_fid))
    return (*(Datum(text, sort=sort) for text, sort in zip(texts, sorts, strict=True)), *quality, *teacher)


def _teacher_datum(value: float | None) -> Datum:
    return Datum("–") if value is None else Datum(number(value), sort=value)


def comparison_table(hypotheses: Sequence[Hypothesis], chances: Chances) -> PageTable:
    """Every comparison with its effect, the p of its test and the p corrected for the whole page."""
    header = (
        "what",
        "a",
        "b",
        "teacher",
        "a − b, for spread a / b [95%]",
        "p",
        "corrected p",
        "a better on a new seed",
    )
    rows = tuple(_comparison_row(one, chances.get((one.a, one.b))) for one in hypotheses)
    width = len(header) if chances else len(header) - 1
    return PageTable(header[:width], tuple(row[:width] for row in rows), frozenset({5, 6}))


def _comparison_row(one: Hypothesis, chance: tuple[float, Interval] | None) -> tuple[Datum, ...]:
    better = Datum("–")
    if chance is not None and one.kind == "mean" and one.teacher is None:
        low, high = map(percent, chance[1])
        better = Datum(f"{percent(chance[0])} [{low} to {high}]", sort=chance[0])
    floor = f"smallest possible p {one.floor:.4g}; {one.n} tries" if one.floor > 0 else f"{one.n} tries"
    return (
        Datum(one.kind, one.stage),
        Datum(one.a),
        Datum(one.b),
        Datum(one.teacher or "all"),
        Datum(effect_text(one), "simultaneous interval" if one.simultaneous else "", one.estimate),
        Datum(_p(one.p), floor, one.p),
        Datum(_p(one.p_adjusted), one.stage, one.p_adjusted, "shown" if one.supported else ""),
        better,
    )


def trend_table(trends: Sequence[Trend]) -> PageTable:
    header = ("method", "FID points per doubling of the gap [95%]", "p, teachers as units", "lack of fit, p",
              "rests on", "without one teacher", "std multiplied by [95%]")  # fmt: skip
    rows = tuple(
        (
            Datum(one.method),
            Datum(f"{signed(one.slope)} [{interval_text(one.interval)}]", "", one.slope),
            Datum(_p(one.p), "", one.p),
            Datum(_p(one.p_lack_of_fit), "small: a straight line does not describe these means", one.p_lack_of_fit),
            Datum(one.rests_on or "no single teacher"),
            Datum(", ".join(f"{signed(slope)} without {teacher}" for teacher, slope in one.without)),
            Datum(f"{_factor(one.spread_slope)} [{_factor(one.spread_interval[0])} to "
                  f"{_factor(one.spread_interval[1])}]", "", one.spread_slope),
        )
        for one in trends
    )  # fmt: skip
    return PageTable(header, rows, frozenset({2, 3}))


def component_table(found: Sequence[tuple[str, Components]]) -> PageTable:
    """What the variance of a FID is made of: the same student under other noise, another seed, another teacher."""
    header = ("cell", "trainings of the teacher × seeds × noise seeds", "evaluation noise, std [95%]",
              "student's seed, std [95%]", "both together", "teacher's training, std [95%]")  # fmt: skip
    rows = tuple(
        (
            Datum(label),
            Datum(f"{one.num_teachers} × {one.num_students} × {one.num_noises}"),
            *(_component(part) for part in (one.evaluation, one.student, one.student_and_evaluation, one.teacher)),
        )
        for label, one in found
    )
    return PageTable(header, rows)


def _component(one: Component | None) -> Datum:
    if one is None:
        return Datum("not known")
    return Datum(f"{number(one.std)} [{interval_text(one.std_interval)}]", "", one.variance)


def search_table(rows: Sequence[dict[str, Any]]) -> PageTable:
    """Searched members with their settings, best first; at most MAX_SEARCHED."""
    columns = ("method", "teacher", "group_size", "coarse_norm", "gate", "lambda_out", "lambda_feat", "seed", "fid")
    return PageTable(
        columns,
        tuple(tuple(_setting(name, row[name]) for name in columns) for row in rows[:MAX_SEARCHED]),
        frozenset({2, 5, 6, 7, 8}),
    )


def _setting(name: str, value: Any) -> Datum:
    if value is None:
        return Datum("–")
    if isinstance(value, float):
        return Datum(number(value) if name == "fid" else f"{value:.3g}", sort=value)
    return Datum(str(value), sort=value)


def calibration_table(rates: Sequence[Calibration], kind: str) -> PageTable:
    """One line an interval or test and case, one column a number of seeds; kind: coverage, error or power."""
    own = [one for one in rates if one.kind == kind]
    columns = sorted({one.num_seeds for one in own})
    keys = list(dict.fromkeys((one.name, one.case) for one in own))
    by_key = {(one.name, one.case, one.num_seeds): one for one in own}
    rows = tuple(
        (Datum(name), Datum(case), *(_rate(by_key.get((name, case, column)), kind) for column in columns))
        for name, case in keys
    )
    what = {"coverage": "interval", "error": "test"}.get(kind, "power of")
    return PageTable((what, "case", *(f"n = {n}" for n in columns)), rows, frozenset(range(2, 2 + len(columns))))


def _rate(one: Calibration | None, kind: str) -> Datum:
    if one is None:
        return Datum("–")
    text = f"{100 * one.rate:.1f}%"
    if kind == "power":
        return Datum(text, "", one.rate)
    if one.holds:
        return Datum(text, f"nominal {one.nominal:.0%}", one.rate)
    return Datum(f"{text} (does not hold)", f"nominal {one.nominal:.0%}", one.rate)


def all_tables(results: Results) -> dict[str, PageTable]:
    """The tables of the page by name."""
    found = shown(results.family, results.tries)
    single = [one for one in found if one.stage == DESCRIPTIVE]
    return {
        "main": main_table(results.entries, results.tries, results.settings.collapse_fid),
        "cells": cell_table(results.whole),
        "comparisons": comparison_table(by_weight([one for one in found if one not in single]), results.chances),
        "single": comparison_table(by_weight(single)[:MAX_COMPARISONS], {}),
        "trends": trend_table(results.trends),
        "components": component_table(results.components),
    }


def _interval_title(interval: Interval) -> str:
    return f"95% interval {interval_text(interval)}"


def _factor(log2: float) -> str:
    return "–" if not math.isfinite(log2) else f"×{ratio_text(2.0 ** min(log2, 60.0))}"


def _p(p: float) -> str:
    return "–" if not math.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"

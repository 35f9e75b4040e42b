"""The tables of the page as plain data: text, what to sort by, what shows under the pointer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.report.stability_table import TableRow, table_rows
from analysis.results.compute import Results
from analysis.results.sentences import interval_text, p_text, ratio_interval_text, ratio_text
from analysis.results.text import number, teacher_text
from analysis.statistics.calibration import Calibration
from analysis.statistics.comparisons import Comparison
from analysis.statistics.intervals import Interval
from analysis.statistics.rank_correlations import RankCorrelation
from analysis.statistics.summary import Entry
from analysis.statistics.trends import SlopeDifference, Trend

MAX_SEARCHED = 200
MAX_COMPARISONS = 300


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


def main_table(entries: Sequence[Entry]) -> PageTable:
    """The table of the report: tries, mean and std a cell, best bold, second underlined, intervals under the
    pointer."""
    by_label = {(cell.method, teacher_text(cell)): (cell, summary) for cell, summary in entries}
    rows = tuple(_main_row(row, by_label[row.method, row.teacher]) for row in table_rows(entries))
    header = ("method", "teacher", "gap", "tries (FID)", "mean", "std", "collapsed")
    return PageTable(header, rows, frozenset({2, 4, 5, 6}))


def _main_row(row: TableRow, entry: Entry) -> tuple[Datum, ...]:
    cell, summary = entry
    seeds = ", ".join(f"seed {seed}: {number(fid)}" for seed, fid in zip(cell.seeds[:20], cell.fid[:20], strict=True))
    low, high = (f"{bound:.0%}" for bound in summary.collapse_rate_interval)
    return (
        Datum(row.method),
        Datum(row.teacher, f"teacher FID {number(cell.teacher_fid or math.nan)}", cell.teacher_params or 0),
        Datum(row.gap or "–", "teacher parameters / student parameters", cell.capacity_gap or 0),
        Datum(row.tries, seeds, summary.fid_min, "tries"),
        Datum(row.mean, _interval_title(summary.fid_mean_interval), summary.fid_mean, f"rank{row.mean_rank}"),
        Datum(row.std, _interval_title(summary.fid_std_interval), summary.fid_std, f"rank{row.std_rank}"),
        Datum(row.collapsed, f"95% interval {low} to {high}", summary.collapse_rate),
    )


def cell_table(entries: Sequence[Entry]) -> PageTable:
    """Every statistic of every cell."""
    header = (
        "method", "teacher", "n", "mean [95%]", "std [95%]", "median [coverage]", "IQR", "min to max", "CV",
        "collapse rate [95%]", "mean and std without collapsed",
    )  # fmt: skip
    return PageTable(header, tuple(_cell_row(entry) for entry in entries), frozenset({2, 8}))


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
        f"{summary.collapse_rate:.0%} [{low:.0%} to {high:.0%}]",
        f"{number(summary.fid_mean_ok)} ± {number(summary.fid_std_ok)} (n = {summary.num_ok})",
    )  # fmt: skip
    sorts: tuple[str | float, ...] = (
        "", cell.teacher_params or 0, summary.n, summary.fid_mean, summary.fid_std, summary.fid_median, "",
        summary.fid_min, summary.fid_cv, summary.collapse_rate, summary.fid_mean_ok,
    )  # fmt: skip
    return tuple(Datum(text, sort=sort) for text, sort in zip(texts, sorts, strict=True))


def comparison_table(comparisons: Sequence[Comparison]) -> PageTable:
    """Mean, spread and chance to win of every pair shown, with corrected p."""
    header = (
        "a",
        "b",
        "teacher",
        "mean: a − b [95%]",
        "Holm p",
        "std: a / b [95%]",
        "Holm p, spread",
        "a better on a new seed",
    )
    return PageTable(header, tuple(_comparison_row(one) for one in comparisons), frozenset({4, 6}))


def _comparison_row(one: Comparison) -> tuple[Datum, ...]:
    single = (
        f"uncorrected {p_text(one.p_mean)}; permutation {p_text(one.p_permutation)}, Welch {p_text(one.p_welch)}, "
        f"sign-flip of {one.num_pairs} pairs {p_text(one.p_sign_flip)}, "
        f"paired t {p_text(one.p_paired_t)}; smallest possible p {one.floor_mean:.4f}; "
        f"bootstrap {interval_text(one.mean_difference_bootstrap)}"
    )
    low, high = one.probability_interval
    return (
        Datum(one.a),
        Datum(one.b),
        Datum(one.teacher or f"all {one.num_teachers}"),
        Datum(
            f"{_signed(one.mean_difference)} [{interval_text(one.mean_difference_interval)}]",
            single,
            one.mean_difference,
        ),
        Datum(_p(one.p_mean_holm), single, one.p_mean_holm, _mark(one.p_mean_holm)),
        Datum(f"{ratio_text(one.std_ratio)} [{ratio_interval_text(one.std_ratio_interval)}]", sort=one.std_ratio),
        Datum(
            _p(one.p_spread_holm), f"uncorrected {p_text(one.p_spread)}", one.p_spread_holm, _mark(one.p_spread_holm)
        ),
        Datum(f"{one.probability_a_better:.0%} [{low:.0%} to {high:.0%}]", sort=one.probability_a_better),
    )


def trend_table(trends: Sequence[Trend]) -> PageTable:
    header = ("method", "per doubling of", "mean: FID points [95%]", "p, rank trend", "std multiplied by [95%]",
              "p, trend of spread", "collapse rate")  # fmt: skip
    rows = tuple(
        (
            Datum(one.method),
            Datum(one.axis),
            Datum(f"{_signed(one.mean.value)} [{interval_text(one.mean.interval)}]",
                  f"bootstrap {interval_text(one.mean_bootstrap)}", one.mean.value),
            Datum(_p(one.p_rank_mean), sort=one.p_rank_mean, mark=_mark(one.p_rank_mean)),
            Datum(f"{_factor(one.log2_std.value)} [{_factor(one.log2_std.interval[0])} to "
                  f"{_factor(one.log2_std.interval[1])}]", sort=one.log2_std.value),
            Datum(_p(one.p_rank_spread), sort=one.p_rank_spread, mark=_mark(one.p_rank_spread)),
            Datum(f"{one.collapse.value:+.0%}" if one.collapse.value else "none collapsed", sort=one.collapse.value),
        )
        for one in trends
    )  # fmt: skip
    return PageTable(header, rows, frozenset({3, 5}))


def slope_table(slopes: Sequence[SlopeDifference]) -> PageTable:
    header = ("a", "b", "mean slope: a − b [95%]", "Holm p", "growth of std: a / b [95%]", "Holm p, spread")
    rows = tuple(
        (
            Datum(one.a),
            Datum(one.b),
            Datum(f"{_signed(one.mean.value)} [{interval_text(one.mean.interval)}]", sort=one.mean.value),
            Datum(_p(one.p_mean_holm), sort=one.p_mean_holm, mark=_mark(one.p_mean_holm)),
            Datum(f"{_factor(one.log2_std.value)} [{_factor(one.log2_std.interval[0])} to "
                  f"{_factor(one.log2_std.interval[1])}]", sort=one.log2_std.value),
            Datum(_p(one.p_spread_holm), sort=one.p_spread_holm, mark=_mark(one.p_spread_holm)),
        )
        for one in slopes
    )  # fmt: skip
    return PageTable(header, rows, frozenset({3, 5}))


def correlation_table(correlations: Sequence[RankCorrelation]) -> PageTable:
    header = ("method", "with the gap", "gap, given the teacher's FID [95%]", "with the teacher's FID",
              "teacher's FID, given the gap [95%]")  # fmt: skip
    rows = tuple(
        (
            Datum(one.method),
            Datum(_signed(one.gap, 2), sort=one.gap),
            Datum(f"{_signed(one.gap_given_teacher_fid, 2)} [{interval_text(one.gap_given_teacher_fid_interval, 2)}]"),
            Datum(_signed(one.teacher_fid, 2), sort=one.teacher_fid),
            Datum(f"{_signed(one.teacher_fid_given_gap, 2)} [{interval_text(one.teacher_fid_given_gap_interval, 2)}]"),
        )
        for one in correlations
    )
    return PageTable(header, rows, frozenset({1, 3}))


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
    """One line an interval or test, one column a distribution and number of seeds."""
    columns = sorted({(one.distribution, one.num_seeds) for one in rates if one.kind == kind}, key=_distribution_order)
    names = list(dict.fromkeys(one.name for one in rates if one.kind == kind))
    by_key = {(one.name, one.distribution, one.num_seeds): one for one in rates if one.kind == kind}
    rows = []
    for name in names:
        found = [by_key[name, *column] for column in columns]
        used = Datum("yes" if found[0].used else "no")
        rows.append((Datum(name), used, *(Datum(f"{one.rate:.1%}", sort=one.rate) for one in found)))
    header = ("interval" if kind == "coverage" else "test", "used", *(f"{name}, n = {n}" for name, n in columns))
    return PageTable(header, tuple(rows), frozenset(range(2, 2 + len(columns))))


def all_tables(results: Results) -> dict[str, PageTable]:
    """The tables of the page by name."""
    over_all = [one for one in results.comparisons if one.teacher is None]
    return {
        "main": main_table(results.entries),
        "cells": cell_table(results.entries),
        "comparisons": comparison_table(over_all),
        "single": comparison_table([one for one in results.comparisons if one.teacher is not None][:MAX_COMPARISONS]),
        "trends": trend_table(results.trends),
        "slopes": slope_table(results.slopes),
        "correlations": correlation_table(results.correlations),
        "ablation": cell_table(results.ablation),
    }


def _distribution_order(column: tuple[str, int]) -> tuple[int, str, int]:
    order = ("normal", "heavy-tailed")
    return (order.index(column[0]) if column[0] in order else len(order), *column)


def _interval_title(interval: Interval) -> str:
    return f"95% interval {interval_text(interval)}"


def _signed(value: float, digits: int = 1) -> str:
    return number(value, digits).replace("-", "−")


def _factor(log2: float) -> str:
    return "–" if not math.isfinite(log2) else f"×{ratio_text(2.0 ** min(log2, 60.0))}"


def _p(p: float) -> str:
    return "–" if not math.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _mark(p: float) -> str:
    return "shown" if p <= 0.05 else ""

"""What is reported of a cell, and the table in its four forms."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from synthetic_study import make_row

from analysis.records.cells import group_cells
from analysis.records.rows import RUN_SCHEMA, SCHEMA_VERSION
from analysis.report.stability_table import (
    TableRow,
    csv_text,
    latex_table,
    markdown_table,
    stability_records,
    table_rows,
    terminal_table,
)
from analysis.results.text import count_text
from analysis.statistics.common_seeds import common_tries
from analysis.statistics.summary import Entry, Summary, summarise

FIDS = [19.65, 15.80, 18.09, 15.85, 15.73]


def entries(rows: list[dict[str, object]]) -> list[Entry]:
    table = pa.Table.from_pylist([{"schema_version": SCHEMA_VERSION, **row} for row in rows], schema=RUN_SCHEMA)
    return [(cell, summarise(cell, np.random.default_rng(0))) for cell in group_cells(table)]


def summary_of(fids: list[float | None], **changes: object) -> Summary:
    return entries([make_row("dist", "small", seed, fid, **changes) for seed, fid in enumerate(fids)])[0][1]


def test_golden_numbers_of_the_papers_cell() -> None:
    summary = summary_of([*FIDS])
    assert summary.fid_mean == pytest.approx(17.024)
    assert summary.fid_std == pytest.approx(1.77363, abs=1e-5)
    assert summary.fid_median == 15.85
    assert summary.fid_quartiles == (15.80, 18.09)
    assert (summary.fid_min, summary.fid_max) == (15.73, 19.65)
    assert summary.fid_cv == pytest.approx(stats.variation(FIDS, ddof=1))
    assert (summary.n, summary.num_fid, summary.num_ok, summary.collapse_rate) == (5, 5, 5, 0.0)


def test_a_single_and_an_all_diverged_cell_have_no_invented_numbers() -> None:
    one = summary_of([20.0])
    assert one.fid_mean == 20.0
    assert np.isnan(one.fid_std)
    none = summary_of([None, None])
    assert np.isnan(none.fid_mean)
    assert (none.n, none.num_diverged, none.collapse_rate) == (2, 2, 1.0)
    record = stability_records(entries([make_row("dist", "small", 0, None)]))[0]
    assert record["fid_mean"] is None


def two_methods() -> list[Entry]:
    """dist is best, out_kd (half as much again) second, in mean; a third method has the smallest std."""
    rows = [make_row("dist", "small", seed, fid) for seed, fid in enumerate(FIDS)]
    rows += [make_row("out_kd", "small", seed, 1.5 * fid) for seed, fid in enumerate(FIDS)]
    return entries([*rows, *(make_row("a_b|c", "small", seed, 90.0 + seed) for seed in range(5))])


def rows() -> list[TableRow]:
    """The lines of two_methods, compared over the two seeds that all have."""
    found = two_methods()
    return table_rows(found, common_tries([cell for cell, _ in found], reference=["dist", "out_kd"]))


def test_best_is_bold_and_second_underlined() -> None:
    text = markdown_table(rows(), 200)
    assert "| **17.02** | <u>1.77</u> |" in text
    assert "| <u>25.54</u> | 2.66 |" in text
    assert "a_b\\|c" in text
    latex = latex_table(rows())
    assert r"\textbf{17.02} $\pm$ \underline{1.77} \\" in latex
    assert r"out\_kd" in latex
    assert latex.startswith(r"\begin{tabular}")
    assert r"\toprule" in latex


def test_terminal_table_is_aligned_and_lists_every_try() -> None:
    lines = terminal_table(rows(), 200).splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(lines[1:]).split()
    assert all(number in words for number in ("19.65", "15.80", "18.09", "15.85", "15.73"))
    assert sum(line.startswith(" ") for line in lines) == len(lines) - 4  # what goes on in the next line
    assert lines[0].split()[:3] == ["method", "teacher", "gap"]


def test_csv_keeps_ten_digits_and_leaves_absent_numbers_empty() -> None:
    text = csv_text(stability_records(two_methods()))
    assert text.count("\n") == 4
    line = next(line for line in text.splitlines() if ",dist," in line)
    assert ",17.024," in line
    assert ",," not in text.splitlines()[0]


@pytest.mark.parametrize(("count", "text"), [(78_700_000, "78.7M"), (1_300, "1.3K"), (12, "12"), (2.5e9, "2.5G")])
def test_counts_in_three_digits(count: float, text: str) -> None:
    assert count_text(count) == text

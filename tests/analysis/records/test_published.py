"""The paper's tables as data: its tries give its printed means and stds."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from analysis.records.cells import group_cells
from analysis.records.published import published_runs, published_table
from analysis.records.rows import RUN_SCHEMA
from analysis.report.write import write_report


def test_table6_is_sixty_rows_of_the_records_schema() -> None:
    runs = published_runs("table6")
    assert runs.schema.equals(RUN_SCHEMA)
    assert len(set(runs.column("run_id").to_pylist())) == 60
    assert {len(cell.fid) for cell in group_cells(runs)} == {5}


def test_the_report_reproduces_the_printed_means_and_stds(tmp_path: Path) -> None:
    write_report([], tmp_path, published="table6")
    with (tmp_path / "stability.csv").open() as file:
        found = {(row["method"], int(row["teacher_params"])): row for row in csv.DictReader(file)}
    printed = published_table("table6")["rows"]
    assert len(found) == len(printed) == 12
    for row in printed:
        line = found[row["method"], round(row["teacher_params_m"] * 1e6)]
        assert float(line["fid_mean"]) == pytest.approx(row["mean"], abs=0.01)
        assert float(line["fid_std"]) == pytest.approx(row["std"], abs=0.01)


def test_a_table_without_single_tries_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"published must be one of table6 .* but got 'table9'"):
        published_runs("table9")

"""The views that people query: cells keep phases and settings apart, in Python and in SQL alike."""

from importlib.resources import files
from pathlib import Path

import duckdb
import pytest
from synthetic_study import make_row, search_rows, variant_rows, write_study

from analysis.records.queries import curves, runs
from analysis.records.rows import compact_runs


@pytest.fixture
def study_dir(tmp_path: Path) -> Path:
    """Three group sizes; settings that a search tried, one of which the grid has too; a setting that is called seed."""
    also_in_grid = make_row("lift_place", "large", 7, 40.0, phase="search", group_size=4)
    own = [make_row("out_kd", "large", seed, 50.0 + seed) for seed in (0, 1)]
    for row in own:
        row["member"] = row["member"].replace('"data": "digits"', '"data": {"seed": 0}')
    return write_study(tmp_path, [*variant_rows(), *search_rows(4), also_in_grid, *own])


def in_sql(study_dir: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute("set variable study_dir = $1", [str(study_dir)])
        connection.execute(files("analysis.records").joinpath("queries.sql").read_text())
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("compacted", [False, True])
def test_a_cell_is_a_member_but_for_its_seed_in_one_phase(study_dir: Path, compacted: bool) -> None:
    if compacted:
        compact_runs(study_dir)
    table = runs(study_dir).to_pandas()
    sizes = table.groupby("cell")["phase"].agg(["size", "nunique"])
    assert sorted(sizes["size"]) == [1, 1, 1, 1, 1, 2, 2, 2, 2]  # the search's, three group sizes, out_kd
    assert set(sizes["nunique"]) == {1}
    by_sql = dict(in_sql(study_dir, "select run_id, cell from runs"))
    groups = table.groupby("cell")["run_id"].agg(frozenset)
    assert {frozenset(run_id for run_id in by_sql if by_sql[run_id] == cell) for cell in set(by_sql.values())} == set(
        groups
    )


def test_curves_say_whose_they_are(study_dir: Path) -> None:
    table = curves(study_dir)
    assert table.column_names[:2] == ["run_id", "step"]
    assert set(table["run_id"].to_pylist()) == set(runs(study_dir)["run_id"].to_pylist())
    query = "select method, count(*) from curves join runs using (run_id) where method = 'out_kd' group by method"
    assert in_sql(study_dir, query) == [("out_kd", 16)]


def test_a_study_without_rows_has_no_curves(tmp_path: Path) -> None:
    assert len(curves(tmp_path)) == 0

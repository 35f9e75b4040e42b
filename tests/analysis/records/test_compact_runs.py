"""Rows moved into a bundle: every reader sees the same rows, wherever the move was cut short."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from synthetic_study import make_row, toy_rows, write_study

from analysis.records.rows import compact_runs, finished_run_ids, read_runs, runs_dir, write_run


def names(study_dir: Path) -> list[str]:
    return sorted(path.name for path in runs_dir(study_dir).iterdir())


def test_the_rows_are_the_same_after_compacting(study_dir: Path) -> None:
    rows, run_ids = read_runs(study_dir), finished_run_ids(study_dir)
    assert compact_runs(study_dir) == len(rows) == 50
    assert len(names(study_dir)) == 1
    assert read_runs(study_dir).equals(rows)
    assert finished_run_ids(study_dir) == run_ids


def test_compacting_again_takes_in_new_rows_and_leaves_one_bundle(study_dir: Path) -> None:
    compact_runs(study_dir)
    before = names(study_dir)
    assert compact_runs(study_dir) == 50
    assert names(study_dir) == before
    row = make_row("out_kd", "small", 99, 60.0)
    write_run(study_dir, row)
    assert row["run_id"] in finished_run_ids(study_dir)
    assert compact_runs(study_dir) == 51
    assert len(names(study_dir)) == 1


def test_a_move_that_was_cut_short_counts_no_row_twice(study_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(runs_dir(study_dir), tmp_path / "rows")
    rows = read_runs(study_dir)
    compact_runs(study_dir)
    for path in sorted((tmp_path / "rows").iterdir())[:7]:  # killed before these were removed
        shutil.copy(path, runs_dir(study_dir))
    assert read_runs(study_dir).equals(rows)
    assert len(finished_run_ids(study_dir)) == 50
    assert compact_runs(study_dir) == 50
    assert len(names(study_dir)) == 1


def test_an_unreadable_bundle_is_named(tmp_path: Path) -> None:
    write_study(tmp_path, toy_rows(num_seeds=2), curves=False)
    (runs_dir(tmp_path) / "bundle-0123456789abcdef.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="bundle-0123456789abcdef"):
        read_runs(tmp_path)
    with pytest.raises(ValueError, match="bundle-0123456789abcdef"):
        finished_run_ids(tmp_path)

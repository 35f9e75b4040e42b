"""The paper's tables stand beside a study's numbers only where the study did the same experiment."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from synthetic_study import make_row, toy_rows

from analysis.records.cells import group_cells
from analysis.records.rows import RUN_SCHEMA, SCHEMA_VERSION
from analysis.report.side_by_side import Beside, beside_the_paper
from analysis.statistics.summary import summarise


def beside(rows: list[dict[str, object]]) -> dict[str, Beside]:
    table = pa.Table.from_pylist([{"schema_version": SCHEMA_VERSION, **row} for row in rows], schema=RUN_SCHEMA)
    entries = [(cell, summarise(cell, np.random.default_rng(0))) for cell in group_cells(table)]
    return {one.title: one for one in beside_the_paper(entries, table)}


CELEBA = {"data": "celeba", "feature_extractor": "inception"}


def test_a_study_without_these_experiments_shows_none_of_them() -> None:
    assert beside(toy_rows(2)) == {}


def test_components_of_the_objective_at_the_largest_teacher() -> None:
    rows = [make_row(method, teacher, seed, base + seed, **CELEBA)
            for method, base in (("lift", 40.0), ("lift_place", 30.0)) for teacher in ("small", "large")
            for seed in (0, 1)]  # fmt: skip
    table = beside(rows)["Components of the objective (Table 8)"]
    assert table.header[2] == "this study with large, FID"
    assert ("lift_place", "16.67", "30.50 ± 0.71") in table.rows
    assert ("lift_place_feat", "15.73", "–") in table.rows


def test_training_overhead_is_a_ratio_of_speeds() -> None:
    rows = [make_row(method, "small", seed, 50.0, steps_per_second=speed + seed, data="lsun_bedroom")
            for method, speed in (("out_feat_kd", 9.5), ("lift_place_feat", 7.5)) for seed in (0, 1)]  # fmt: skip
    table = beside(rows)["Training overhead (Table 9)"]
    assert table.rows[0] == ("LSUN 256x256", "0.994")
    assert table.rows[-1] == ("this study", "0.800")


def test_a_dit_teacher_stands_beside_table_7() -> None:
    rows = [
        make_row("lift_place", "dit_xl_2", seed, 8.0 + seed, data="imagenet", feature_extractor="inception")
        for seed in (0, 1)
    ]
    table = beside(rows)["Teacher capacity in DiT (Table 7)"]
    assert ("paper: DiT-XL/2", "lift_place", "7.66") in table.rows
    assert ("dit_xl_2", "lift_place", "8.50") in table.rows


def test_a_fid_of_other_data_or_of_another_extractor_never_stands_beside_the_papers() -> None:
    """The paper's CelebA 15.73 beside a digits FID."""
    for changes in ({}, {"data": "celeba"}, {"feature_extractor": "inception"}):
        rows = [make_row(method, "large", seed, 30.0 + seed, **changes)
                for method in ("lift", "lift_place", "lift_place_feat") for seed in (0, 1)]  # fmt: skip
        assert beside(rows) == {}

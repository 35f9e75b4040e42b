"""Which members share a cell, and what a cell is called."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
from synthetic_study import make_row, toy_rows

from analysis.records.cells import group_cells, methods_of, teachers_of
from analysis.records.rows import RUN_SCHEMA, SCHEMA_VERSION


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist([{"schema_version": SCHEMA_VERSION, **row} for row in rows], schema=RUN_SCHEMA)


def test_every_member_is_in_exactly_one_cell_and_none_is_dropped() -> None:
    rows = toy_rows()
    cells = group_cells(table(rows))
    assert len(cells) == 10  # 3 methods x 3 teachers, and diffusion_only once
    assert sorted(run for cell in cells for run in cell.run_ids) == sorted(row["run_id"] for row in rows)
    assert teachers_of(cells) == ["small", "medium", "large"]
    assert methods_of(cells)[0] == "diffusion_only"


def test_a_diverged_member_stays_in_its_cell_without_a_fid() -> None:
    cell = next(c for c in group_cells(table(toy_rows())) if (c.method, c.teacher) == ("out_kd", "large"))
    assert cell.seeds.tolist() == [0, 1, 2, 3, 4]
    assert cell.collapsed.tolist() == [True, True, False, False, False]
    assert cell.diverged.tolist() == [False, True, False, False, False]
    assert np.isnan(cell.fid[1])
    assert cell.fid[0] == 412.0


def test_variants_of_a_method_are_cells_of_their_own_with_the_setting_in_the_label() -> None:
    rows = [make_row("lift_place", "small", seed, 30.0 + seed, group_size=size) for size in (4, 16) for seed in (0, 1)]
    rows += [make_row("out_kd", "small", 0, 50.0)]
    cells = group_cells(table(rows))
    assert [cell.method for cell in cells] == ["lift_place K=16", "lift_place K=4", "out_kd"]
    assert [len(cell.fid) for cell in cells] == [2, 2, 1]


def test_grid_and_confirm_members_are_never_in_one_cell() -> None:
    rows = [make_row("out_kd", "small", seed, 50.0, phase=phase) for seed, phase in enumerate(("grid", "confirm"))]
    assert [cell.method for cell in group_cells(table(rows))] == ["out_kd", "out_kd (tuned)"]


def test_two_teachers_of_one_name_are_told_apart_by_their_id() -> None:
    rows = [make_row("out_kd", "small", 0, 50.0, teacher_id=tag) for tag in ("aa", "bb")]
    assert {cell.teacher for cell in group_cells(table(rows))} == {"small (aa)", "small (bb)"}


def test_analysis_loads_neither_torch_nor_ray_nor_the_study() -> None:
    modules = [
        "records.cells",
        "statistics.summary",
        "figures.stability",
        "report.page",
        "records.published",
        "report.write",
    ]
    code = f"import sys, {', '.join(f'analysis.{name}' for name in modules)}\n"
    code += "print([name for name in ('torch', 'ray', 'study', 'trainables') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

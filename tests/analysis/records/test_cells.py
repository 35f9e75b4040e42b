"""Which members share a cell, and what a cell is called."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from synthetic_study import make_row, toy_rows

from analysis.records.cells import group_cells, methods_of, teachers_of
from analysis.records.protocol import check_one_protocol, choose_rows
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
    cell = next(
        c for c in group_cells(table(toy_rows()), collapse_fid=200) if (c.method, c.teacher) == ("out_kd", "large")
    )
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


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"method.eps": 10}, "lift_place eps=10"),
        ({"train.lr_schedule": "cosine"}, "lift_place lr_schedule=cosine"),
        ({"train.max_grad_norm": 5.0}, "lift_place max_grad_norm=5"),
        ({"evaluation.noise_seed": 7}, "lift_place evaluation.noise_seed=7"),
    ],
)
def test_whatever_a_member_is_made_of_makes_a_cell_of_its_own(changes: dict[str, Any], label: str) -> None:
    """One directory swept with several settings was shown as one row, n = 8, one std."""
    rows = [make_row("lift_place", "small", seed, 30.0 + seed) for seed in (0, 1)]
    rows += [make_row("lift_place", "small", seed, 40.0 + seed, **changes) for seed in (0, 1)]
    cells = group_cells(table(rows))
    assert [len(cell.fid) for cell in cells] == [2, 2]
    assert label in {cell.method for cell in cells}


def test_a_setting_that_depends_on_the_teacher_is_shown_where_it_is_no_id() -> None:
    rows = [make_row("lift", "small", 0, 30.0, lr=1e-3), make_row("lift", "large", 0, 30.0, lr=1e-4)]
    assert [cell.method for cell in group_cells(table(rows))] == ["lift lr=0.001", "lift lr=0.0001"]
    rows = [make_row("lift", name, 0, 30.0, **{"student.pruned_from": f"id-{name}"}) for name in ("small", "large")]
    assert [cell.method for cell in group_cells(table(rows))] == ["lift", "lift"]


def test_a_seed_that_is_twice_in_a_cell_is_named() -> None:
    row = make_row("out_kd", "small", 3, 50.0)
    twice = [row, {**row, "run_id": "0123456789abcdef", "fid": 60.0}]
    with pytest.raises(ValueError, match=r"seed 3 is twice in the cell of out_kd, small: run_ids .*0123456789abcdef"):
        group_cells(table(twice))


def test_collapse_is_a_matter_of_the_threshold() -> None:
    rows = table([make_row("out_kd", "small", seed, fid) for seed, fid in enumerate((50.0, 150.0, None))])
    for threshold, expected in (
        (100.0, [False, True, True]),
        (200.0, [False, False, True]),
        (None, [False, False, True]),
    ):
        (cell,) = group_cells(rows, collapse_fid=threshold)
        assert cell.collapsed.tolist() == expected


def test_rows_of_two_protocols_are_refused_and_can_be_chosen() -> None:
    rows = [make_row("out_kd", "small", seed, 50.0, **{"evaluation.noise_seed": seed}) for seed in (0, 7)]
    with pytest.raises(ValueError, match=r"evaluation\.noise_seed is 0 and 7; choose rows, e\.g\. where="):
        check_one_protocol(group_cells(table(rows)))
    chosen = choose_rows(table(rows), {"evaluation": {"noise_seed": 7}})
    assert chosen.column("seed").to_pylist() == [7]
    assert choose_rows(table(rows), {"seed": 0, "evaluation.noise_seed": 0}).column("seed").to_pylist() == [0]
    assert choose_rows(table(rows), {"seed": [7, 8]}).column("seed").to_pylist() == [7]
    assert choose_rows(table(rows), {"evaluation.noise_seed": [0, 7]}).column("seed").to_pylist() == [0, 7]
    with pytest.raises(ValueError, match="where must name columns of the rows or keys of a member but got 'noise'"):
        choose_rows(table(rows), {"noise": 1})


def test_teachers_of_several_trainings_are_told_apart_by_their_seed() -> None:
    rows = [make_row("out_kd", "small", 0, 50.0, teacher_id=f"t{seed}", teacher_seed=seed) for seed in (0, 1)]
    assert {cell.teacher for cell in group_cells(table(rows))} == {"small (seed 0)", "small (seed 1)"}


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

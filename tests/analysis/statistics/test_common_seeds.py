"""The same seeds and teachers for everything, and diverged members that never help."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from synthetic_study import make_row

from analysis.records.cells import Cell, group_cells
from analysis.records.rows import RUN_SCHEMA, SCHEMA_VERSION
from analysis.statistics.common_seeds import (
    common_tries,
    deviations,
    ranking,
    spread_ratio,
    spread_scores,
    worst_filled,
)


def cells_of(rows: list[dict[str, Any]]) -> list[Cell]:
    rows = [{"schema_version": SCHEMA_VERSION, **row} for row in rows]
    return group_cells(pa.Table.from_pylist(rows, schema=RUN_SCHEMA))


def test_a_method_that_lacks_its_hard_seed_is_not_the_best() -> None:
    rows = [make_row("out_kd", "small", seed, 50.0 + 200 * (seed == 4)) for seed in range(5)]
    rows += [make_row("dist", "small", seed, 51.0) for seed in range(4)]  # seed 4 is not finished
    tries = common_tries(cells_of(rows), reference=["out_kd", "dist"])
    assert tries is not None
    assert tries.seeds == (0, 1, 2, 3)
    assert tries.num_left_out == 1
    assert [tries.methods[place] for place in ranking(tries)] == ["out_kd", "dist"]


def test_a_method_with_few_seeds_or_a_missing_teacher_is_left_out_and_named() -> None:
    rows = [make_row(m, t, seed, 50.0) for m in ("out_kd", "dist") for t in ("small", "large") for seed in range(6)]
    rows += [make_row("lift", t, 0, 40.0) for t in ("small", "large")]
    rows += [make_row("lift_place", "small", seed, 40.0) for seed in range(6)]
    rows += [make_row("diffusion_only", None, seed, 90.0 + seed) for seed in range(5)]
    tries = common_tries(cells_of(rows), reference=["out_kd", "dist"])
    assert tries is not None
    assert tries.methods == ("diffusion_only", "dist", "out_kd")
    assert tries.fid.shape == (3, 2, 5)
    assert (tries.fid[0, 0] == tries.fid[0, 1]).all()
    assert dict(tries.left_out) == {"lift": "has 1 of the 6 seeds", "lift_place": "has no members at large"}


def test_no_common_seed_is_no_comparison() -> None:
    rows = [make_row("out_kd", "small", seed, 50.0) for seed in (0, 1)]
    rows += [make_row("dist", "small", seed, 50.0) for seed in (2, 3)]
    assert common_tries(cells_of(rows), reference=["out_kd", "dist"]) is None


def test_a_diverged_member_counts_as_the_worst_of_all() -> None:
    fid = np.array([[[20.0, 22.0, np.nan]], [[30.0, 90.0, np.inf]]])
    assert worst_filled(fid)[0, 0, 2] == worst_filled(fid)[1, 0, 2] == 90.0
    assert np.isnan(worst_filled(np.full((2, 1, 2), np.nan))).all()


@pytest.mark.parametrize("lost", [1, 3, 6])
def test_divergence_never_makes_a_method_steadier(lost: int) -> None:
    fid = np.random.default_rng(0).normal(50, 5, (2, 1, 6))
    fid[0, 0, :lost] = np.nan
    found = deviations(fid)
    assert (found[0, 0, :lost] == found.max()).all()
    assert found.max() >= np.ptp(fid[np.isfinite(fid)])
    ratio = spread_ratio(*spread_scores(*fid))
    if lost == 6:
        assert ratio > 1  # a method that always diverges has no std, and is not called stable
    else:
        assert ratio > spread_ratio(*spread_scores(*fid[..., lost:]))


def test_spread_scores_weigh_every_teacher_alike() -> None:
    fid = np.random.default_rng(0).normal(50, 5, (2, 2, 6))
    wide = fid.copy()
    wide[:, 1] = 50 + 100 * (fid[:, 1] - 50)  # at the second teacher both methods spread a hundred times as far
    plain, scaled = spread_scores(*fid), spread_scores(*wide)
    assert np.stack(plain) == pytest.approx(np.stack(scaled))

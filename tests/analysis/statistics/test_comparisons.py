"""Pairs of methods: which seeds count, what is paired, Holm's correction, who wins on a new seed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from synthetic_study import make_row, toy_rows

from analysis.records.cells import Cell, group_cells
from analysis.records.published import published_runs
from analysis.records.rows import RUN_SCHEMA, SCHEMA_VERSION
from analysis.statistics.comparisons import compare_all, holm
from analysis.statistics.tries import tries_of


def cells_of(rows: list[dict[str, object]]) -> list[Cell]:
    return group_cells(
        pa.Table.from_pylist([{"schema_version": SCHEMA_VERSION, **row} for row in rows], schema=RUN_SCHEMA)
    )


def test_holm_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1 = 0.04 0.06 0.06 0.04, then made monotone
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, np.nan, 0.6]))[[0, 2]] == pytest.approx([1.0, 1.0])
    assert np.isnan(holm(np.array([0.9, np.nan, 0.6]))[1])


def test_a_method_without_a_teacher_is_compared_at_every_teacher() -> None:
    cells = cells_of(toy_rows())
    found = compare_all(cells, np.random.default_rng(0), paired=True)
    single = [one for one in found if one.teacher is not None and one.a == "diffusion_only"]
    assert len(single) == 9  # three teachers, three methods
    alone = tries_of(cells, "diffusion_only", ["small", "medium", "large"])
    assert alone is not None
    assert alone.fid.shape == (3, 5)
    assert (alone.fid[0] == alone.fid[2]).all()


def test_paired_difference_over_teachers_is_the_t_interval_of_the_seeds_means() -> None:
    cells = cells_of(toy_rows())
    one = next(
        c for c in compare_all(cells, np.random.default_rng(0), paired=True)
        if c.teacher is None and (c.a, c.b) == ("lift_place_feat", "out_feat_kd")
    )  # fmt: skip
    a, b = (tries_of(cells, method, ["small", "medium", "large"]) for method in (one.a, one.b))
    assert a is not None
    assert b is not None
    seed_means = (a.fid - b.fid).mean(axis=0)
    expected = stats.ttest_1samp(seed_means, 0).confidence_interval(0.95)
    assert one.mean_difference == pytest.approx(seed_means.mean())
    assert one.mean_difference_interval == pytest.approx((expected.low, expected.high))
    assert one.num_pairs == 5
    assert one.p_sign_flip == 2 / 32
    assert one.p_mean == pytest.approx(stats.ttest_1samp(seed_means, 0).pvalue)  # five pairs: no exact test reaches 5%
    assert one.p_permutation >= 1 / 126
    assert one.probability_a_better == 1.0
    assert one.probability_interval[0] == pytest.approx(0.025 ** (1 / 5))  # Clopper and Pearson, 5 of 5


def test_from_six_pairs_on_the_sign_flip_test_is_used() -> None:
    rows = [
        make_row(m, "small", seed, base + seed) for m, base in (("out_kd", 50.0), ("dist", 40.0)) for seed in range(6)
    ]
    one = compare_all(cells_of(rows), np.random.default_rng(0), paired=True)[0]
    assert one.p_mean == one.p_sign_flip == 2 / 64
    assert one.floor_mean == 2 / 64


def test_diverged_members_are_in_no_mean_and_lose_on_a_new_seed() -> None:
    rows = [make_row("out_kd", "small", seed, None if seed == 0 else 50.0 + seed) for seed in range(4)]
    rows += [make_row("dist", "small", seed, 60.0 + seed) for seed in range(4)]
    one = compare_all(cells_of(rows), np.random.default_rng(0), paired=True)[0]
    assert (one.a, one.b) == ("dist", "out_kd")
    assert (one.n_a, one.n_b, one.num_pairs) == (4, 3, 3)
    assert one.probability_a_better == 0.25
    assert one.mean_difference == pytest.approx(61.5 - 52.0)
    assert one.collapse_difference == -0.25


def test_table6_supports_the_means_but_not_the_spread_against_out_feat_kd() -> None:
    found = compare_all(group_cells(published_runs("table6")), np.random.default_rng(0), paired=False)
    over_all = {(one.a, one.b): one for one in found if one.teacher is None}
    lift_out = over_all["lift_place_feat", "out_kd"]
    lift_feat = over_all["lift_place_feat", "out_feat_kd"]
    assert lift_out.mean_difference == pytest.approx(
        (17.024 + 25.38 + 23.542 + 24.158 - 96.644 - 78.282 - 66.882 - 61.09) / 4
    )
    assert lift_out.p_mean_holm < 0.01
    assert lift_out.p_spread_holm < 0.01
    assert lift_feat.p_mean_holm < 0.01
    assert lift_feat.p_spread_holm > 0.05
    assert lift_out.num_pairs == 0
    assert all(one.p_mean_holm > 0.05 for one in found if one.teacher is not None)  # 12 / 126 > 0.05


def test_std_ratio_of_two_teachers_is_the_geometric_mean() -> None:
    rows = [
        make_row("dist", t, s, 50 + k * f)
        for t, k in (("small", 1.0), ("large", 4.0))
        for s, f in enumerate((-1, 0, 1))
    ]
    rows += [make_row("out_kd", t, s, 50.0 + f) for t in ("small", "large") for s, f in enumerate((-1, 0, 1))]
    one = compare_all(cells_of(rows), np.random.default_rng(0), paired=True)[0]
    assert one.std_ratio == pytest.approx(2.0)


def test_ties_count_half() -> None:
    rows = [make_row(method, "small", seed, 50.0) for method in ("dist", "out_kd") for seed in range(3)]
    one = compare_all(cells_of(rows), np.random.default_rng(0), paired=False)[0]
    assert one.probability_a_better == 0.5
    assert one.p_mean == 1.0

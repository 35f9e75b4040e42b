"""Slopes over the capacity gap, their intervals, rank trends and the rival explanation."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from synthetic_study import toy_rows

from analysis.records.cells import group_cells
from analysis.records.published import published_runs
from analysis.records.rows import RUN_SCHEMA, SCHEMA_VERSION
from analysis.statistics.jackknife import combine, log_std, log_std_pseudo_values
from analysis.statistics.rank_correlations import rank_correlations
from analysis.statistics.rank_trends import rank_trends
from analysis.statistics.trends import mean_slope, slope_differences, slope_weights, spread_slope, trends

X = np.log2(np.array([7.0, 12.0, 15.0, 60.0]))


def fids(seed: int = 0) -> np.ndarray:
    return 30 + 5 * X[:, None] + np.random.default_rng(seed).normal(0, 1, (4, 5)) * np.array([1, 2, 4, 8.0])[:, None]


def test_slope_of_means_is_least_squares_with_a_t_interval_over_seeds() -> None:
    fid = fids()
    found = mean_slope(fid, slope_weights(X), shared_seeds=True)
    per_seed = [stats.linregress(X, column).slope for column in fid.T]
    expected = stats.ttest_1samp(per_seed, 0)
    bounds = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(stats.linregress(np.repeat(X, 5), fid.ravel()).slope)
    assert found.interval == pytest.approx((bounds.low, bounds.high))
    assert found.p == pytest.approx(expected.pvalue)


def test_independent_cells_have_satterthwaites_degrees_of_freedom() -> None:
    fid = fids()[:2]
    found = combine(fid, np.array([1.0, -1.0]), 0.0, shared_seeds=False)
    expected = stats.ttest_ind(fid[0], fid[1], equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert found.interval == pytest.approx((bounds.low, bounds.high))


def test_pseudo_values_of_the_log_std_by_leaving_out() -> None:
    values = fids()
    expected = [[5 * log_std(row) - 4 * log_std(np.delete(row, left_out)) for left_out in range(5)] for row in values]
    assert log_std_pseudo_values(values) == pytest.approx(np.array(expected))


def test_growth_of_the_std_is_in_doublings_per_doubling() -> None:
    base = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    fid = 50 + 2.0 ** X[:, None] * base  # the std is proportional to the gap
    assert spread_slope(fid, slope_weights(X), shared_seeds=True).value == pytest.approx(1.0)


def test_rank_trend_with_shared_seeds_is_pages_test() -> None:
    fid = fids()
    expected = stats.page_trend_test(fid.T).pvalue
    p, _ = rank_trends(X, fid, np.random.default_rng(0), shared_seeds=True)
    assert p == pytest.approx(min(1.0, 2 * expected))


def test_rank_trend_without_shared_seeds_is_spearmans_permutation_test() -> None:
    fid = fids() * 0.2 + np.random.default_rng(3).normal(0, 4, (4, 5))
    x = np.repeat(X, 5)
    p, _ = rank_trends(X, fid, np.random.default_rng(0), shared_seeds=False, resamples=9999)
    expected = stats.permutation_test(
        (fid.ravel(),), lambda y: stats.spearmanr(x, y).statistic, permutation_type="pairings", n_resamples=999,
        vectorized=False, rng=np.random.default_rng(1),
    ).pvalue  # fmt: skip
    assert p == pytest.approx(expected, abs=0.03)


def test_a_spread_that_grows_is_found_and_a_steady_one_is_not() -> None:
    generator = np.random.default_rng(5)
    noise = generator.normal(0, 1, (4, 20))
    grows = rank_trends(X, noise * np.array([1, 3, 9, 27.0])[:, None], generator, shared_seeds=True)[1]
    steady = rank_trends(X, noise, generator, shared_seeds=True)[1]
    assert grows < 0.01
    assert steady > 0.05


def test_trends_of_a_study_cover_parameters_macs_and_distance() -> None:
    table = pa.Table.from_pylist([{"schema_version": SCHEMA_VERSION, **row} for row in toy_rows()], schema=RUN_SCHEMA)
    cells = group_cells(table)
    found = trends(cells, np.random.default_rng(0), paired=True)
    assert {trend.axis for trend in found} == {"capacity gap", "MACs", "student-teacher distance"}
    assert {trend.method for trend in found} == {"out_kd", "out_feat_kd", "lift_place_feat"}
    out_kd = next(trend for trend in found if (trend.method, trend.axis) == ("out_kd", "capacity gap"))
    assert out_kd.num_seeds == 4  # seed 1 diverged at the largest teacher
    assert out_kd.collapse.value > 0
    assert out_kd.teachers == ("small", "medium", "large")


def test_the_papers_claim_in_one_number() -> None:
    cells = group_cells(published_runs("table6"))
    found = {(one.a, one.b): one for one in slope_differences(cells, np.random.default_rng(0), paired=False)}
    one = found["lift_place_feat", "out_feat_kd"]
    means = {"lift_place_feat": [24.158, 23.542, 25.38, 17.024], "out_feat_kd": [40.882, 41.884, 42.408, 193.564]}
    gaps = np.log2(np.array([9.2, 16.6, 19.7, 78.7]) / 1.3)
    slopes = {method: stats.linregress(gaps, values).slope for method, values in means.items()}
    assert one.mean.value == pytest.approx(slopes["lift_place_feat"] - slopes["out_feat_kd"], abs=0.01)
    assert one.p_mean_holm < 0.05
    assert one.p_spread_holm > 0.05


def test_partial_rank_correlation_by_the_textbook_formula() -> None:
    cells = group_cells(published_runs("table6"))
    one = next(c for c in rank_correlations(cells, np.random.default_rng(0)) if c.method == "out_kd")
    series = [cell for cell in cells if cell.method == "out_kd"]
    fid = np.concatenate([cell.fid for cell in series])
    gap = np.repeat([cell.capacity_gap for cell in series], 5)
    teacher = np.repeat([cell.teacher_fid for cell in series], 5)
    r = [stats.spearmanr(*pair).statistic for pair in ((fid, gap), (fid, teacher), (gap, teacher))]
    partial = (r[0] - r[1] * r[2]) / np.sqrt((1 - r[1] ** 2) * (1 - r[2] ** 2))
    assert one.gap == pytest.approx(r[0])
    assert one.gap_given_teacher_fid == pytest.approx(partial)
    low, high = one.gap_given_teacher_fid_interval
    assert low < partial < high

"""Golden p values of every test, against scipy or by hand; floors; what the tests do when something is there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.two_samples import (
    fligner_scores,
    mean_test,
    paired_t_p,
    permutation_floor,
    permutation_p,
    regroupings,
    sign_flip_floor,
    sign_flip_p,
    spread_scores,
    spread_slope_test,
    spread_test,
    student_p,
    units,
    welch_p,
)

A = np.array([[19.65, 15.80, 18.09, 15.85, 15.73]])  # LIFT+PLACE and OutKD with the paper's largest teacher
B = np.array([[210.09, 56.67, 90.72, 55.41, 70.33]])


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_regroupings_of_five_and_five_are_all_252_and_the_first_is_the_observed() -> None:
    masks = regroupings(5, 5, generator())
    assert masks.shape == (252, 10)
    assert (masks.sum(axis=1) == 5).all()
    assert len({tuple(mask) for mask in masks.tolist()}) == 252
    assert masks[0].tolist() == [True] * 5 + [False] * 5


@pytest.mark.parametrize("strata", [2, 4])
def test_regroupings_stay_within_their_stratum(strata: int) -> None:
    masks = regroupings(3, 4, generator(), strata=strata, limit=200)
    first, rest = masks[:, : 3 * strata], masks[:, 3 * strata :]
    in_a = first.reshape(-1, strata, 3).sum(axis=2) + rest.reshape(-1, strata, 4).sum(axis=2)
    assert (in_a == 3).all()
    assert first[0].all()
    assert not rest[0].any()


def test_permutation_p_is_scipys_exact_one() -> None:
    expected = stats.permutation_test((A[0], B[0]), lambda x, y: x.mean() - y.mean(), n_resamples=np.inf).pvalue
    assert float(permutation_p(A, B, regroupings(5, 5, generator()))) == pytest.approx(expected)
    assert expected == pytest.approx(1 / 126)  # the floor: the groups do not overlap
    assert permutation_floor(5, 5) == pytest.approx(1 / 126)


def test_stratified_permutation_by_hand() -> None:
    a, b = np.array([[1.0], [3.0]]), np.array([[2.0], [5.0]])  # 4 regroupings; differences 1.5, 0.5, -0.5, -1.5
    masks = regroupings(1, 1, generator(), strata=2)
    assert float(permutation_p(a, b, masks)) == 0.5


def test_sign_flip_by_hand_and_its_floor() -> None:
    assert float(sign_flip_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), generator())) == 2 / 32
    assert sign_flip_floor(5) == 0.0625
    expected = stats.permutation_test(
        (np.array([1.0, -2.0, 3.0, 4.0, 5.0]),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert float(sign_flip_p(np.array([1.0, -2.0, 3.0, 4.0, 5.0]), generator())) == pytest.approx(expected.pvalue)


def test_welch_and_student_are_scipys() -> None:
    assert float(welch_p(A, B)) == pytest.approx(stats.ttest_ind(A[0], B[0], equal_var=False).pvalue)
    assert float(student_p(A, B)) == pytest.approx(stats.ttest_ind(A[0], B[0]).pvalue)
    assert float(welch_p(np.full((1, 3), 2.0), np.full((1, 3), 2.0))) == 1.0


def test_paired_t_is_scipys() -> None:
    assert float(paired_t_p((A - B)[0])) == pytest.approx(stats.ttest_rel(A[0], B[0]).pvalue)
    assert float(paired_t_p(np.zeros(4))) == 1.0


def test_spread_scores_give_scipys_brown_forsythe_test() -> None:
    levene = stats.levene(A[0], B[0], center="median").pvalue
    assert float(student_p(*spread_scores(A, B))) == pytest.approx(levene)  # F with 1 df is t squared
    masks = regroupings(5, 5, generator())
    assert float(spread_test(A, B, masks)) == pytest.approx(
        max(levene, float(permutation_p(*spread_scores(A, B), masks)))
    )


def test_fligner_scores_are_those_of_scipys_statistic() -> None:
    a, b = generator().normal(0, 1, (1, 9)), generator().normal(0, 4, (1, 9))
    scores_a, scores_b = fligner_scores(a, b)
    scores = np.concatenate([scores_a, scores_b], axis=1)[0]
    statistic = (
        9 * ((scores_a.mean() - scores.mean()) ** 2 + (scores_b.mean() - scores.mean()) ** 2) / scores.var(ddof=1)
    )
    assert statistic == pytest.approx(stats.fligner(a[0], b[0], center="median").statistic)


def test_units_average_over_teachers_only_where_seeds_are_shared() -> None:
    values = np.arange(6.0).reshape(2, 3)
    assert units(values, shared_seeds=True).tolist() == [[1.5, 2.5, 3.5]]
    assert units(values, shared_seeds=False) is values


def test_mean_test_needs_both_tests_to_reject() -> None:
    masks = regroupings(5, 5, generator())
    assert float(mean_test(A, B, masks)) == pytest.approx(max(float(welch_p(A, B)), 1 / 126))
    assert float(mean_test(A, B, None)) == float(welch_p(A, B))


def test_large_differences_are_found_and_a_shift_is_no_spread() -> None:
    rng = generator()
    masks = regroupings(10, 10, rng)
    narrow, wide = rng.normal(20, 1, (1, 10)), rng.normal(20, 12, (1, 10))
    assert float(spread_test(narrow, wide, masks)) < 0.05
    assert float(spread_test(narrow, narrow + 500.0, masks)) == pytest.approx(1.0)
    assert float(mean_test(narrow, narrow + 500.0, masks)) < 0.01


def test_a_spread_that_grows_with_the_gap_is_found() -> None:
    rng = generator()
    growing = 20 + rng.normal(0, 1, (4, 10)) * np.array([0.2, 1, 5, 40.0])[:, None]
    steady = 20 + rng.normal(0, 1, (4, 10)) * 5
    weights = np.array([-0.3, -0.1, 0.1, 0.3])
    p = spread_slope_test(growing, steady, weights, masks=regroupings(10, 10, rng), shared_seeds=True)
    assert float(p) < 0.01

"""Permutations of independent tries, against brute force, and the order of the tries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from analysis.records.published import published_table
from analysis.statistics.regroupings import fisher_p, floor, holm, permutation_interval, permutation_p, regroupings
from analysis.statistics.superiority import probability_better


def tries(method: str, params: float) -> np.ndarray:
    rows = published_table("table6")["rows"]
    return np.array(next(r["tries"] for r in rows if (r["method"], r["teacher_params_m"]) == (method, params)))


def test_p_is_brute_force_with_welchs_t() -> None:
    a, b = np.array([1.0, 4.0, 2.5, 3.0]), np.array([5.0, 3.5, 6.0, 9.0])
    both = np.concatenate([a, b])
    t = []
    for chosen in itertools.combinations(range(8), 4):
        rest = [i for i in range(8) if i not in chosen]
        t.append(abs(stats.ttest_ind(both[list(chosen)], both[rest], equal_var=False).statistic))
    masks = regroupings(4, 4, np.random.default_rng(0))
    found = float(permutation_p(a[None], b[None], masks))
    assert found == pytest.approx(np.mean(np.array(t) >= t[0] - 1e-9))


def test_table6_at_the_largest_teacher_supports_one_declared_comparison() -> None:
    masks = regroupings(5, 5, np.random.default_rng(0))
    for baseline in ("out_kd", "out_feat_kd"):
        a, b = tries("lift_place_feat", 78.7)[None], tries(baseline, 78.7)[None]
        assert float(permutation_p(a, b, masks)) == pytest.approx(2 / 252)
        assert permutation_interval(a, b, masks)[1] < 0
    assert floor(5, 5) == pytest.approx(0.0079, abs=5e-5)


def test_strata_are_permuted_each_for_itself() -> None:
    masks = regroupings(2, 2, np.random.default_rng(0), strata=2)
    assert masks.shape == (36, 2, 4)
    assert (masks.sum(axis=2) == 2).all()
    assert (masks[0] == [[1, 1, 0, 0], [1, 1, 0, 0]]).all()


def test_the_order_of_independent_tries_changes_nothing() -> None:
    a, b = tries("out_kd", 78.7)[None], tries("out_feat_kd", 78.7)[None]
    mixed = np.random.default_rng(0).permutation(a, axis=1), b[:, ::-1]
    masks = regroupings(5, 5, np.random.default_rng(0))
    assert permutation_p(a, b, masks) == pytest.approx(permutation_p(*mixed, masks))
    assert probability_better(a, b, paired=False) == probability_better(*mixed, paired=False)
    assert probability_better(a, b, paired=False)[0] == pytest.approx(stats.mannwhitneyu(b[0], a[0]).statistic / 25)
    assert probability_better(a, b, paired=True) != probability_better(*mixed, paired=True)


def test_a_better_method_seed_by_seed_with_the_exact_interval() -> None:
    a, b = np.array([[1.0, 2.0, 3.0, 4.0, 9.0]]), np.array([[2.0, 3.0, 4.0, 5.0, np.nan]])
    probability, interval = probability_better(a, b, paired=True)
    assert probability == 1.0
    assert interval == pytest.approx((0.025 ** (1 / 5), 1.0))
    assert probability_better(b, a, paired=True)[0] == 0.0
    exact = stats.binomtest(4, 5).proportion_ci(0.95, method="exact")
    assert probability_better(np.array([[1.0, 2.0, 3.0, 4.0, 9.0]]), np.full((1, 5), 5.0), paired=True) == (
        0.8, pytest.approx((exact.low, exact.high)),
    )  # fmt: skip


def test_fisher_and_holm() -> None:
    hits = np.array([True] * 5), np.array([False] * 5)
    assert fisher_p(*hits) == pytest.approx(2 / 252)
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert np.isnan(holm(np.array([0.9, np.nan, 0.6]))[1])

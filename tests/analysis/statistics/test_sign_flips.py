"""Sign flips of whole seeds, against brute force and scipy: p, step-down max-T, intervals, McNemar."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import sign_flips as flips
from analysis.statistics.contrasts import collapse_interval

GENERATOR = np.random.default_rng
D = np.array(
    [[1.2, 0.4, 2.0, -0.3, 1.1, 0.8, 1.9], [0.1, -0.6, 0.3, 0.2, -0.1, 0.5, -0.2], [2.0, 1.0, 1.5, 0.9, 1.1, 3.0, 2.2]]
)


def brute(rows: np.ndarray) -> np.ndarray:
    """Step-down max-T by its definition: for each hypothesis, the maximum over those that are not more significant."""
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=rows.shape[1])))
    t = np.abs(signs @ rows.T) / np.sqrt((rows**2).sum(axis=1))
    order = np.argsort(-t[0])
    p, reached = np.empty(len(rows)), 0.0
    for step, place in enumerate(order):
        reached = max(reached, float((t[:, order[step:]].max(axis=1) >= t[0, place] - 1e-12).mean()))
        p[place] = reached
    return p


def test_p_is_scipys_exact_permutation_test() -> None:
    signs = flips.sign_flips(7, GENERATOR(0))
    assert signs.shape == (64, 7)
    for row in D:
        exact = stats.permutation_test((row,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert float(flips.sign_flip_p(row, signs)) == pytest.approx(exact.pvalue)


def test_step_down_is_brute_force() -> None:
    signs = flips.sign_flips(7, GENERATOR(0))
    found = flips.step_down(flips.flip_statistics(D, signs))
    assert found == pytest.approx(brute(D))
    assert found[2] == 2 / 128  # all seven alike: the floor, with three hypotheses as with one
    assert found[1] > 0.5


def test_the_floor_does_not_depend_on_the_number_of_hypotheses() -> None:
    rows = np.abs(GENERATOR(1).normal(5, 1, (28, 6)))
    assert (flips.step_down(flips.flip_statistics(rows, flips.sign_flips(6, GENERATOR(0)))) == flips.floor(6)).all()
    assert flips.floor(6) == 2 / 64
    assert flips.floor(5) > 0.05


def test_flips_of_many_seeds_are_drawn_and_agree_with_their_normal_limit() -> None:
    row = GENERATOR(3).normal(0.25, 1.0, (2, 60))
    drawn = flips.step_down(flips.flip_statistics(row, flips.sign_flips(60, GENERATOR(0))))
    limit = flips.step_down(flips.limit_statistics(row, GENERATOR(0), limit=20_000))
    assert drawn == pytest.approx(limit, abs=0.02)


def test_the_interval_holds_what_the_test_does_not_reject() -> None:
    signs, row = flips.sign_flips(7, GENERATOR(0)), D[0]
    low, high = flips.flip_interval(row, np.ones(7), signs, estimate=float(row.mean()))
    means = sorted(float(np.mean(part)) for k in range(1, 8) for part in itertools.combinations(row, k))
    # Hartigan (1969): 127 means of subsets, p > 5% from the third to the third last, 2 * 3 / 128 < 5% < 2 * 4 / 128
    assert (low, high) == pytest.approx((means[2], means[-3]), abs=1e-6)
    for theta, inside in ((low + 1e-3, True), (high - 1e-3, True), (low - 1e-3, False), (high + 1e-3, False)):
        assert (float(flips.sign_flip_p(row - theta, signs)) > 0.05) == inside


def test_simultaneous_intervals_are_wider_and_five_seeds_bound_nothing() -> None:
    signs, row = flips.sign_flips(7, GENERATOR(0)), D[0]
    around = flips.flip_statistics(D[1:] - D[1:].mean(axis=1, keepdims=True), signs).max(axis=0)
    alone = flips.flip_interval(row, np.ones(7), signs, estimate=float(row.mean()))
    together = flips.flip_interval(row, np.ones(7), signs, estimate=float(row.mean()), others=around)
    assert together[0] < alone[0] < alone[1] < together[1]
    few = flips.sign_flips(5, GENERATOR(0))
    assert flips.flip_interval(row[:5], np.ones(5), few, estimate=1.0) == (-np.inf, np.inf)


def test_t_interval_of_a_mean_is_scipys() -> None:
    expected = stats.ttest_1samp(D[0], 0).confidence_interval(0.95)
    found = flips.t_interval(D[0], np.ones(7), estimate=float(D[0].mean()), ratio=False, level=0.95)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert float(flips.paired_t_p(D[0])) == pytest.approx(stats.ttest_1samp(D[0], 0).pvalue)


def test_nothing_differs_or_all_differ_alike() -> None:
    assert float(flips.paired_t_p(np.zeros(4))) == 1.0
    assert float(flips.paired_t_p(np.full(4, 2.0))) == 0.0
    assert float(flips.sign_flip_p(np.zeros(6), flips.sign_flips(6, GENERATOR(0)))) == 1.0


def test_sign_flips_of_collapses_are_mcnemars_exact_test() -> None:
    a, b = np.zeros(12), np.zeros(12)
    a[:7], b[7] = 1.0, 1.0  # seven seeds collapse with a alone, one with b alone, four with neither
    p = float(flips.sign_flip_p(a - b, flips.sign_flips(12, GENERATOR(0))))
    assert p == pytest.approx(stats.binomtest(7, 8, 0.5).pvalue)


def test_collapse_interval_by_the_formula_of_bonett_and_price() -> None:
    differences = np.array([1.0] * 4 + [-1.0] + [0.0] * 15)
    b, c = (4 + 1) / 22, (1 + 1) / 22
    half = stats.norm.ppf(0.975) * np.sqrt((b + c - (b - c) ** 2) / 22)
    assert collapse_interval(differences) == pytest.approx((b - c - half, b - c + half))

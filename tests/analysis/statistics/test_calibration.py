"""The intervals and tests keep their promises: the shipped calibration, and a fresh small simulation that agrees."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.calibration import (
    DISTRIBUTIONS,
    NUM_SEEDS,
    OFTEN,
    Calibration,
    calibrate,
    coverages,
    draw,
    shipped,
)
from analysis.statistics.power import PairModel, independent_pair, paired_pair, power, seeds_for_floor, seeds_needed


def broken(rates: list[Calibration], *, slack: float) -> list[Calibration]:
    """What does not keep the report's promises, with `slack` for the noise of a simulation."""
    return [one for one in rates if one.used and not keeps(one, slack)]


def keeps(one: Calibration, slack: float) -> bool:
    if one.kind == "false positives":
        return one.rate <= 0.055 + slack
    if one.distribution == "normal" and one.num_seeds >= 5:
        return one.nominal - 0.02 - slack <= one.rate <= one.nominal + 0.02 + slack
    return True


def test_the_shipped_calibration_keeps_every_promise() -> None:
    rates = shipped()
    assert {(one.distribution, one.num_seeds) for one in rates} == {
        (d, n) for d in (*DISTRIBUTIONS, OFTEN) for n in NUM_SEEDS
    }
    assert not broken(rates, slack=0.0)


def test_what_is_not_used_does_not_keep_them() -> None:
    rates = {(one.name, one.distribution, one.num_seeds): one for one in shipped()}
    assert rates["mean: percentile bootstrap", "normal", 5].rate < 0.9
    assert rates["spread: F test", "heavy-tailed", 5].rate > 0.1
    assert not rates["spread: F test", "heavy-tailed", 5].used


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_simulated_fids_have_the_means_and_stds_that_coverage_is_measured_against(distribution: str) -> None:
    from analysis.statistics.calibration import _TRUE_MEAN, _TRUE_STD

    sample = draw(distribution, (400_000,), np.random.default_rng(0))
    assert sample.mean() == pytest.approx(_TRUE_MEAN[distribution], rel=0.01)
    assert sample.std() == pytest.approx(_TRUE_STD[distribution], rel=0.05)


def test_a_fresh_small_simulation_covers() -> None:
    assert not broken(coverages("normal", 5, np.random.default_rng(1), 900), slack=0.03)


@pytest.mark.full
def test_a_fresh_simulation_agrees_with_the_shipped_calibration() -> None:
    fresh = calibrate(np.random.default_rng(2), replicates=1000)
    assert not broken(fresh, slack=0.02)
    known = {(one.name, one.distribution, one.num_seeds): one.rate for one in shipped()}
    for one in fresh:
        assert one.rate == pytest.approx(known[one.name, one.distribution, one.num_seeds], abs=0.07), one


def pair(mean_b: float, std_b: float) -> PairModel:
    """A method at 20 +- 2 against another, independent."""
    return independent_pair((np.array([20.0]), np.array([mean_b])), (np.array([2.0]), np.array([std_b])))


def test_power_grows_with_seeds_and_with_the_difference() -> None:
    generator = np.random.default_rng(0)
    few, many = (power(pair(23.0, 2.0), "mean", n, generator, paired=False) for n in (4, 15))
    assert few < 0.6
    assert many > 0.9
    assert power(pair(20.0, 2.0), "mean", 10, generator) < 0.15
    assert power(pair(20.0, 12.0), "spread", 15, generator) > 0.9
    assert power(pair(20.0, 12.0), "spread", 3, generator) == 0.0  # 2 / C(6, 3) = 0.1: below the floor of the test


def test_seeds_needed_is_near_the_t_tests_textbook_number() -> None:
    # difference of 1.5 std, 80% power at 5%, two groups: 8 to 9 each by the noncentral t distribution
    assert seeds_needed(pair(23.0, 2.0), "mean", np.random.default_rng(0), paired=False) in (8, 9, 10)
    assert seeds_needed(pair(20.0, 2.0), "mean", np.random.default_rng(0)) is None


def test_pairs_with_common_noise_need_fewer_seeds() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 10, (2, 8))
    own = generator.normal(0, 1, (2, 8))
    model = paired_pair(100 + noise, 103 + noise + own)
    fids = model.draw(4000, 50, generator)
    assert fids[0].std(axis=(0, 2)) == pytest.approx(noise.std(axis=1, ddof=1), rel=0.05)
    assert (fids[1] - fids[0]).std(axis=(0, 2)) == pytest.approx(own.std(axis=1, ddof=1), rel=0.05)
    needed = seeds_needed(model, "mean", generator)
    assert needed is not None
    assert needed <= 8


def test_seeds_from_which_a_family_can_be_significant_at_all() -> None:
    # 12 comparisons: 12 * 2 / C(10, 5) = 0.095 at n = 5, 12 * 2 / C(12, 6) = 0.026 at n = 6
    assert seeds_for_floor(12) == 6
    assert seeds_for_floor(1) == 4  # 2 / C(8, 4) = 0.029, 2 / C(6, 3) = 0.1

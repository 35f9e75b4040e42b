"""Golden numbers of every interval, against scipy or a computation by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import (
    bootstrap_interval,
    mean_interval,
    median_interval,
    rate_interval,
    std_interval,
    superiority_interval,
)

TRIES = np.array([210.09, 56.67, 90.72, 55.41, 70.33])  # the paper's OutKD with its largest teacher


def test_mean_interval_is_the_t_interval_of_scipy() -> None:
    expected = stats.ttest_1samp(TRIES, 0).confidence_interval(0.95)
    assert mean_interval(TRIES) == pytest.approx((expected.low, expected.high))


def test_std_interval_by_hand() -> None:
    # chi2 quantiles with 4 degrees of freedom from a printed table: 0.4844 (2.5%) and 11.1433 (97.5%)
    std = TRIES.std(ddof=1)
    assert std_interval(TRIES) == pytest.approx((std * (4 / 11.1433) ** 0.5, std * (4 / 0.4844) ** 0.5), rel=1e-4)


@pytest.mark.parametrize(
    ("n", "dropped", "coverage"), [(3, 0, 0.75), (5, 0, 0.9375), (6, 0, 0.96875), (9, 1, 0.9609375)]
)
def test_median_interval_by_hand(n: int, dropped: int, coverage: float) -> None:
    low, high, reached = median_interval(np.arange(float(n)))
    assert (low, high) == (dropped, n - 1 - dropped)
    assert reached == pytest.approx(coverage)


def test_rate_interval_is_wilsons() -> None:
    # 1 of 5 by Wilson's formula: centre (0.2 + z^2/10) / (1 + z^2/5), z = 1.959964
    assert rate_interval(1, 5) == pytest.approx((0.036224, 0.624465), abs=1e-5)
    assert rate_interval(0, 5)[0] == 0.0
    assert rate_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("statistic", ["mean", "std"])
def test_bootstrap_interval_agrees_with_scipy(statistic: str) -> None:
    function = {"mean": np.mean, "std": lambda x, axis: np.std(x, ddof=1, axis=axis)}[statistic]
    ours = bootstrap_interval(TRIES, statistic, np.random.default_rng(0), resamples=20_000)
    theirs = stats.bootstrap((TRIES,), function, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1))
    assert ours == pytest.approx((theirs.confidence_interval.low, theirs.confidence_interval.high), rel=0.02)


def test_superiority_interval_has_a_width_at_the_ends_and_is_symmetric() -> None:
    low, high = superiority_interval(1.0, 5, 5)
    assert high == 1.0
    assert 0.5 < low < 0.75
    mirrored = superiority_interval(0.0, 5, 5)
    assert mirrored == pytest.approx((0.0, 1 - low))
    assert superiority_interval(0.5, 5, 5) == pytest.approx(tuple(1 - x for x in superiority_interval(0.5, 5, 5)[::-1]))


def test_too_few_values_give_no_number() -> None:
    one = np.array([1.0])
    assert np.isnan([*mean_interval(one), *std_interval(one)]).all()
    assert np.isnan(median_interval(np.array([]))[0])

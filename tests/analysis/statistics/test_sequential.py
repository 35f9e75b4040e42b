"""The sequential rule: its error, simulated where nothing differs, and what it saves where something does."""

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.sequential import decided, look_level, paired_p

FIRST, LAST, ALPHA = 3, 10, 0.05


def normal(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return generator.standard_normal(shape)


def skewed_pairs(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """FIDs with a long upper tail that share half of what a seed does to them."""
    seed, a, b = (generator.exponential(size=shape) for _ in range(3))
    return (seed + a) - (seed + b)


def rare_collapses(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Both methods collapse on one seed of ten."""
    a, b = (generator.standard_normal(shape) + 50 * (generator.random(shape) < 0.1) for _ in range(2))
    return a - b


@pytest.mark.parametrize("differences", [normal, skewed_pairs, rare_collapses])
def test_the_error_over_all_looks_is_at_most_alpha(differences: object) -> None:
    generator = np.random.default_rng(1)
    values = differences(generator, (20_000, LAST))  # type: ignore[operator]
    p = paired_p(values)[:, FIRST - 2 :]
    error = float((p.min(axis=1) <= look_level(FIRST, LAST, ALPHA)).mean())
    assert error <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / len(values))
    naive = float((p.min(axis=1) <= ALPHA).mean())
    if differences is normal:
        assert error >= ALPHA - 0.006  # and not needlessly careful
        assert naive > 0.12  # what looking at 5% after every seed would do


def test_decided_is_what_was_simulated() -> None:
    generator = np.random.default_rng(2)
    level = look_level(FIRST, LAST, ALPHA)
    for values in generator.normal(0.8, 1.0, (50, LAST)):
        hits = [n for n in range(FIRST, LAST + 1) if stats.ttest_1samp(values[:n], 0).pvalue <= level]
        assert decided(values, first=FIRST, last=LAST, alpha=ALPHA) == (hits[0] if hits else None)


def test_a_decision_does_not_change_when_seeds_are_added() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, LAST)
    found = decided(values, first=FIRST, last=LAST, alpha=ALPHA)
    assert found is not None
    for n in range(1, LAST + 1):
        expected = found if n >= found else None
        assert decided(values[:n], first=FIRST, last=LAST, alpha=ALPHA) == expected


def test_a_large_difference_is_found_with_few_seeds() -> None:
    generator = np.random.default_rng(4)
    found = [decided(d, first=FIRST, last=LAST, alpha=ALPHA) for d in generator.normal(3.0, 1.0, (200, LAST))]
    assert sum(n is not None for n in found) >= 195
    assert np.mean([n or LAST for n in found]) < 6


def test_equal_differences_and_diverged_members() -> None:
    assert decided(np.full(5, 7.0), first=3, last=10, alpha=0.05) == 3
    assert decided(np.zeros(5), first=3, last=10, alpha=0.05) is None
    assert decided(np.array([7.0, 7.1, np.inf, 7.0, 7.1]), first=3, last=10, alpha=0.05) is None
    assert decided(np.array([7.0, 7.1, 6.9, np.nan]), first=3, last=10, alpha=0.05) == 3
    assert decided(np.array([7.0, 7.1]), first=3, last=10, alpha=0.05) is None


@pytest.mark.parametrize("last", [3, 5, 20])
def test_more_looks_need_a_lower_level(last: int) -> None:
    assert look_level(3, last, 0.05) <= 0.0515
    assert look_level(3, last, 0.05) > look_level(3, last + 1, 0.05)

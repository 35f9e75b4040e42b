"""How many seeds it takes: the power of the report's own tests, simulated at the means and stds that were found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.cells import FloatArray
from analysis.comparisons import ALPHA, SIGN_FLIP_FROM
from analysis.two_samples import mean_test, permutation_floor, regroupings, sign_flip_p, spread_test, units

NUM_SEEDS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40)
TARGET = 0.8
_NUM_REGROUPINGS = 300  # in the simulation: enough for a power within a few percent


@dataclass(frozen=True)
class Model:
    """Normal FIDs of one method at T teachers: means (T,) and stds (T,), independent over teachers and methods."""

    means: FloatArray
    stds: FloatArray

    def draw(self, shape: tuple[int, int], generator: np.random.Generator) -> FloatArray:
        """FIDs (replicates, T, n) for shape (replicates, n)."""
        noise = generator.standard_normal((shape[0], len(self.means), shape[1]))
        return np.asarray(self.means[:, None] + self.stds[:, None] * noise)


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds a cell for a power of 80%; None: more than the largest of NUM_SEEDS."""

    mean: int | None
    spread: int | None


def power(
    a: Model, b: Model, num_seeds: int, generator: np.random.Generator, *,
    level: float = ALPHA, paired: bool = True, replicates: int = 120,
) -> tuple[float, float]:  # fmt: skip
    """The share of simulated studies in which the test of means, and of spreads, has p <= level."""
    fid_a, fid_b = (model.draw((replicates, num_seeds), generator) for model in (a, b))
    unit_a, unit_b = (units(fid, shared_seeds=paired) for fid in (fid_a, fid_b))
    masks = regroupings(num_seeds, num_seeds, generator, strata=unit_a.shape[-2], limit=_NUM_REGROUPINGS)
    if paired and num_seeds >= SIGN_FLIP_FROM:
        p_mean = sign_flip_p((unit_a - unit_b)[..., 0, :], generator)
    else:
        p_mean = mean_test(unit_a, unit_b, masks)
    p_spread = spread_test(fid_a, fid_b, masks, shared_seeds=paired)
    return float((p_mean <= level).mean()), float((p_spread <= level).mean())


def seeds_needed(
    a: Model, b: Model, generator: np.random.Generator, *, level: float = ALPHA, paired: bool = True
) -> SeedsNeeded:
    """The smallest of NUM_SEEDS that reaches TARGET power for means and for spreads."""
    powers: dict[int, tuple[float, float]] = {}

    def reaches(kind: int) -> Callable[[int], bool]:
        def at(num_seeds: int) -> bool:
            if num_seeds not in powers:
                powers[num_seeds] = power(a, b, num_seeds, generator, level=level, paired=paired)
            return powers[num_seeds][kind] >= TARGET

        return at

    return SeedsNeeded(_smallest(reaches(0)), _smallest(reaches(1)))


def seeds_for_floor(family: int, level: float = ALPHA) -> int:
    """Seeds a cell from which one of `family` Holm-corrected single-teacher permutation tests can reach `level` at
    all."""
    n = 2
    while permutation_floor(n, n) * family > level and n < NUM_SEEDS[-1]:
        n += 1
    return n


def _smallest(reaches: Callable[[int], bool]) -> int | None:
    """Bisection over NUM_SEEDS, because power grows with the number of seeds."""
    low, high = 0, len(NUM_SEEDS)
    while low < high:
        middle = (low + high) // 2
        if reaches(NUM_SEEDS[middle]):
            high = middle
        else:
            low = middle + 1
    return NUM_SEEDS[low] if low < len(NUM_SEEDS) else None

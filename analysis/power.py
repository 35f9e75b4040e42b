"""How many seeds it takes: the power of the report's own tests, simulated at the means and stds that were found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.cells import FloatArray
from analysis.comparisons import ALPHA, SIGN_FLIP_FROM
from analysis.two_samples import mean_test, permutation_floor, regroupings, sign_flip_p, spread_test, units

NUM_SEEDS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40)
TARGET = 0.8
_NUM_REGROUPINGS = 256  # in the simulation: enough for a power within a few percent


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
    """Seeds a cell for a power of 80%; 0: settled already; None: more than the largest of NUM_SEEDS."""

    mean: int | None
    spread: int | None


def power(
    a: Model, b: Model, kind: str, num_seeds: int, generator: np.random.Generator, *,
    level: float = ALPHA, paired: bool = True, replicates: int = 100,
) -> float:  # fmt: skip
    """The share of simulated studies in which the report's test of `kind` ("mean" or "spread") has p <= level."""
    fid_a, fid_b = (model.draw((replicates, num_seeds), generator) for model in (a, b))
    unit_a, unit_b = (units(fid, shared_seeds=paired) for fid in (fid_a, fid_b))
    if kind == "mean" and paired and num_seeds >= SIGN_FLIP_FROM:
        return float((sign_flip_p((unit_a - unit_b)[..., 0, :], generator, limit=_NUM_REGROUPINGS) <= level).mean())
    masks = regroupings(num_seeds, num_seeds, generator, strata=unit_a.shape[-2], limit=_NUM_REGROUPINGS)
    if kind == "mean":
        return float((mean_test(unit_a, unit_b, masks) <= level).mean())
    return float((spread_test(fid_a, fid_b, masks, shared_seeds=paired) <= level).mean())


def seeds_needed(
    a: Model, b: Model, kind: str, generator: np.random.Generator, *, level: float = ALPHA, paired: bool = True
) -> int | None:
    """The smallest of NUM_SEEDS with a power of TARGET, by bisection (power grows with seeds); None: none has."""
    low, high = 0, len(NUM_SEEDS)
    while low < high:
        middle = (low + high) // 2
        if power(a, b, kind, NUM_SEEDS[middle], generator, level=level, paired=paired) >= TARGET:
            high = middle
        else:
            low = middle + 1
    return NUM_SEEDS[low] if low < len(NUM_SEEDS) else None


def seeds_for_floor(family: int, level: float = ALPHA) -> int:
    """Seeds a cell from which one of `family` Holm-corrected single-teacher permutation tests can reach `level` at
    all."""
    n = 2
    while permutation_floor(n, n) * family > level and n < NUM_SEEDS[-1]:
        n += 1
    return n

"""How many seeds it takes: the power of the report's own tests, simulated at the means and stds that were found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.records.cells import FloatArray
from analysis.statistics.comparisons import ALPHA, SIGN_FLIP_FROM
from analysis.statistics.two_samples import (
    mean_test,
    paired_t_p,
    permutation_floor,
    regroupings,
    sign_flip_p,
    spread_test,
    units,
)

NUM_SEEDS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40)
TARGET = 0.8
_NUM_REGROUPINGS = 256  # in the simulation: enough for a power within a few percent


@dataclass(frozen=True)
class PairModel:
    """Normal FIDs of two methods at T teachers: means (T,) plus loadings (T, m) times m standard normal causes a
    seed."""

    means_a: FloatArray
    means_b: FloatArray
    loadings_a: FloatArray
    loadings_b: FloatArray

    def draw(self, replicates: int, num_seeds: int, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """FIDs (replicates, T, num_seeds) of a and of b; the causes of a seed are the same for both."""
        causes = generator.standard_normal((replicates, self.loadings_a.shape[1], num_seeds))
        return self.means_a[:, None] + self.loadings_a @ causes, self.means_b[:, None] + self.loadings_b @ causes


def independent_pair(means: tuple[FloatArray, FloatArray], stds: tuple[FloatArray, FloatArray]) -> PairModel:
    """Two methods whose tries share nothing: means and stds (T,) of a and b."""
    zeros = np.zeros((len(means[0]), len(means[0])))
    loadings = np.hstack([np.diag(stds[0]), zeros]), np.hstack([zeros, np.diag(stds[1])])
    return PairModel(*means, *loadings)


def paired_pair(fid_a: FloatArray, fid_b: FloatArray) -> PairModel:
    """Two methods with the means and covariances of fid_a and fid_b (T, n), the same seeds in the same columns."""
    values, vectors = np.linalg.eigh(np.cov(np.concatenate([fid_a, fid_b])))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return PairModel(fid_a.mean(axis=1), fid_b.mean(axis=1), root[: len(fid_a)], root[len(fid_a) :])


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds a cell for a power of 80%; 0: settled already; None: more than the largest of NUM_SEEDS."""

    mean: int | None
    spread: int | None


def power(
    pair: PairModel, kind: str, num_seeds: int, generator: np.random.Generator, *,
    level: float = ALPHA, paired: bool = True, replicates: int = 100,
) -> float:  # fmt: skip
    """The share of simulated studies in which the report's test of `kind` ("mean" or "spread") has p <= level."""
    fid_a, fid_b = pair.draw(replicates, num_seeds, generator)
    unit_a, unit_b = (units(fid, shared_seeds=paired) for fid in (fid_a, fid_b))
    if kind == "mean" and paired:
        differences = (unit_a - unit_b)[..., 0, :]
        exact = num_seeds >= SIGN_FLIP_FROM
        p = sign_flip_p(differences, generator, limit=_NUM_REGROUPINGS) if exact else paired_t_p(differences)
        return float((p <= level).mean())
    masks = regroupings(num_seeds, num_seeds, generator, strata=unit_a.shape[-2], limit=_NUM_REGROUPINGS)
    if kind == "mean":
        return float((mean_test(unit_a, unit_b, masks) <= level).mean())
    return float((spread_test(fid_a, fid_b, masks, shared_seeds=paired) <= level).mean())


def seeds_needed(
    pair: PairModel, kind: str, generator: np.random.Generator, *, level: float = ALPHA, paired: bool = True
) -> int | None:
    """The smallest of NUM_SEEDS with a power of TARGET, by bisection (power grows with seeds); None: none has."""
    low, high = 0, len(NUM_SEEDS)
    while low < high:
        middle = (low + high) // 2
        if power(pair, kind, NUM_SEEDS[middle], generator, level=level, paired=paired) >= TARGET:
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

"""What planned seeds can show of the primary comparison, and how many seeds it takes: the report's tests, simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from analysis.records.cells import FloatArray
from analysis.statistics import sign_flips as flips
from analysis.statistics.common_seeds import spread_scores, worst_filled
from analysis.statistics.family import ALPHA
from analysis.statistics.simulated import draw, shipped_effects

NUM_SEEDS = (3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 60)
DIFFERENCES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)  # in typical deviations
RATIOS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
TARGET = 0.8
OWN_ROWS = "the study's own rows"
_NUM_STUDIES = 400
_NUM_FLIPS = 2048
_POOL = 4000


@dataclass(frozen=True, kw_only=True)
class PairModel:
    """Seeds to draw from: FIDs (2, T, S) of S seeds around each method's mean, a scaled to spread as b does.

    `typical` is 1.48 times the median deviation from the median, in FID points: the std of seeds that are neither hard
    nor collapsed. `difference` and `ratio` are the means' difference a - b
    and the spreads' ratio a / b that were found (0 and 1 where nothing was measured).
    """

    pool: FloatArray
    typical: float
    difference: float
    ratio: float
    source: str

    def draw(
        self, num_studies: int, num_seeds: int, generator: np.random.Generator, *, difference: float, ratio: float
    ) -> tuple[FloatArray, FloatArray]:
        """FIDs (num_studies, T, num_seeds) of a and of b: whole seeds drawn with replacement."""
        chosen = generator.integers(0, self.pool.shape[-1], (num_studies, num_seeds))
        a, b = (np.moveaxis(part[:, chosen], 0, 1) for part in self.pool)
        return a * ratio + difference, b


@dataclass(frozen=True, kw_only=True)
class DesignPower:
    """What `num_seeds` seeds can show of one declared pair, each test at 5%.

    `mean`: power at differences in typical deviations; `spread`: power at ratios of spreads. The smallest effects found
    in 80% of studies are None where even the largest of the list is not.
    """

    num_seeds: int
    typical: float  # FID points
    mean: tuple[tuple[float, float], ...]
    smallest_difference: float | None  # in typical deviations
    spread: tuple[tuple[float, float], ...]
    smallest_ratio: float | None
    source: str


def fit_pair(fid_a: FloatArray, fid_b: FloatArray) -> PairModel:
    """The model of two methods that have run: fid_a and fid_b (T, n), the same seeds in the same columns, n >= 3."""
    both = worst_filled(np.stack([fid_a, fid_b]))
    off = np.abs(both - np.median(both, axis=-1, keepdims=True))
    first, second = off.mean(axis=-1, keepdims=True)  # (T, 1)
    pool = both - both.mean(axis=-1, keepdims=True)
    pool[0] *= np.where((first > 0) & (second > 0), second / np.where(first > 0, first, 1.0), 1.0)
    return PairModel(
        pool=pool, typical=1.4826 * float(np.median(off)), difference=float(both[0].mean() - both[1].mean()),
        ratio=float(first.mean() / second.mean()) if second.mean() > 0 else 1.0, source=OWN_ROWS,
    )  # fmt: skip


def shipped_pair(num_teachers: int, generator: np.random.Generator) -> PairModel:
    """The model of two methods before anything has run: the seed effects of the reference study."""
    fid = draw(shipped_effects(), (1, 2, num_teachers, _POOL), generator)[0]
    model = fit_pair(fid[0], fid[1])
    return replace(model, difference=0.0, ratio=1.0, source="the seed effects of the reference study")


def paired_p(kind: str, fid_a: FloatArray, fid_b: FloatArray, generator: np.random.Generator) -> FloatArray:
    """p (R,) of the report's test of one declared pair ("mean" or "spread") in R studies, fid_a and fid_b (R, T, n)."""
    first, second = (fid_a, fid_b) if kind == "mean" else spread_scores(fid_a, fid_b)
    differences = (first - second).mean(axis=-2)
    n = differences.shape[-1]
    if n < flips.MIN_SEEDS:
        return flips.paired_t_p(differences)
    return flips.sign_flip_p(differences, flips.sign_flips(n, generator, limit=_NUM_FLIPS))


def power(
    model: PairModel, kind: str, num_seeds: int, generator: np.random.Generator, *, difference: float = 0.0,
    ratio: float = 1.0,
) -> float:  # fmt: skip
    """The share of simulated studies with p <= 5%; difference in FID points."""
    fids = model.draw(_NUM_STUDIES, num_seeds, generator, difference=difference, ratio=ratio)
    return float((paired_p(kind, *fids, generator) <= ALPHA).mean())


def design_power(model: PairModel, *, num_seeds: int, generator: np.random.Generator) -> DesignPower:
    """The power of `num_seeds` planned seeds over DIFFERENCES and RATIOS, made monotone; 0 below three seeds."""
    means, spreads = [0.0] * len(DIFFERENCES), [0.0] * len(RATIOS)
    if num_seeds >= 3:
        means = [power(model, "mean", num_seeds, generator, difference=x * model.typical) for x in DIFFERENCES]
        spreads = [power(model, "spread", num_seeds, generator, ratio=ratio) for ratio in RATIOS]
    means, spreads = monotone(means), monotone(spreads)
    return DesignPower(
        num_seeds=num_seeds, typical=model.typical, mean=tuple(zip(DIFFERENCES, means, strict=True)),
        smallest_difference=_first(DIFFERENCES, means), spread=tuple(zip(RATIOS, spreads, strict=True)),
        smallest_ratio=_first(RATIOS, spreads), source=model.source,
    )  # fmt: skip


def seeds_needed(model: PairModel, kind: str, generator: np.random.Generator) -> int | None:
    """The smallest of NUM_SEEDS that finds the model's own effect in 80% of studies; None: none of them does."""
    effect = model.difference, model.ratio
    powers = monotone([power(model, kind, n, generator, difference=effect[0], ratio=effect[1]) for n in NUM_SEEDS])
    found = _first(NUM_SEEDS, powers)
    return None if found is None else int(found)


def monotone(powers: Sequence[float]) -> list[float]:
    """Simulated powers with their noise smoothed away: the closest sequence that never falls."""
    return [float(value) for value in optimize.isotonic_regression(np.array(powers)).x]


def _first(places: Sequence[float], powers: Sequence[float]) -> float | None:
    return next((place for place, value in zip(places, powers, strict=True) if value >= TARGET), None)

"""Simulated studies with the shared seed effects of a real one: what power and calibration are computed from.

A FID is a mean plus four parts: one of the seed (shared by all methods and teachers), one of seed and method, one of
seed and teacher, and its own; their shares of the variance are those of the reference study
(analysis/published/covariances.json, which says where they come from), or, with hard seeds, of a pilot study. A hard
seed is bad for every method: the reference study has none, the pilot had. A collapse is a member's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np

from analysis.records.cells import FloatArray

COLLAPSE = 180.0  # FID points above the others


@dataclass(frozen=True, kw_only=True)
class SeedEffects:
    """std of a FID over easy seeds, in FID points, the shares of its variance, and how often a seed is hard.

    The rest of the variance, 1 - share_seed - share_method - share_teacher, is each member's own. A hard seed adds
    between hard_low and hard_high FID points, by method.
    """

    std: float
    share_seed: float
    share_method: float
    share_teacher: float
    hard_rate: float
    hard_low: float
    hard_high: float


def shipped_effects() -> SeedEffects:
    """The seed effects of the reference study."""
    return SeedEffects(**_shipped("reference"))


def hard_effects() -> SeedEffects:
    """Those of the pilot study, of whose seeds some are hard: what a test must withstand."""
    return SeedEffects(**_shipped("hard_seeds"))


def _shipped(name: str) -> dict[str, float]:
    text = (resources.files("analysis") / "published" / "covariances.json").read_text(encoding="utf-8")
    return {key: value for key, value in json.loads(text)[name].items() if isinstance(value, float)}


def draw(
    effects: SeedEffects, shape: tuple[int, int, int, int], generator: np.random.Generator, *,
    collapse_rates: FloatArray | None = None,
) -> FloatArray:  # fmt: skip
    """FIDs (R, M, T, n) of `shape`: R studies of M methods at T teachers with n shared seeds, all methods alike.

    Around 100. `collapse_rates` (M,): how often a seed of each method collapses at all of its teachers.
    """
    num, methods, teachers, n = shape
    own = 1 - effects.share_seed - effects.share_method - effects.share_teacher
    parts = [
        (effects.share_seed, (num, 1, 1, n)), (effects.share_method, (num, methods, 1, n)),
        (effects.share_teacher, (num, 1, teachers, n)), (own, shape),
    ]  # fmt: skip
    noise = sum(np.sqrt(share) * generator.standard_normal(size) for share, size in parts)
    fid = 100.0 + effects.std * np.asarray(noise)
    hard = generator.random((num, 1, 1, n)) < effects.hard_rate
    fid = fid + hard * generator.uniform(effects.hard_low, effects.hard_high, (num, methods, 1, n))
    if collapse_rates is not None:
        hit = generator.random((num, methods, 1, n)) < np.asarray(collapse_rates)[:, None, None]
        fid = fid + hit * COLLAPSE
    return np.asarray(fid)

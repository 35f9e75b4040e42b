"""The tests of one hypothesis, and of several at once: paired by sign flips or t, unpaired by permutation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from analysis.records.cells import FloatArray
from analysis.statistics import regroupings as unpaired
from analysis.statistics import sign_flips as flips
from analysis.statistics.common_seeds import Tries, spread_ratio, spread_scores, worst_filled
from analysis.statistics.intervals import LEVEL, NAN, Interval

MIN_SEEDS = 3  # below, nothing is tested


@dataclass(frozen=True)
class Contrast:
    """What is asked of two methods (kind: mean, spread or collapse), and the answer; NaN where it is not tested."""

    kind: str
    a: str
    b: str
    teacher: str | None
    estimate: float = float("nan")
    interval: Interval = NAN
    p: float = float("nan")
    p_adjusted: float = float("nan")
    floor: float = float("nan")
    simultaneous: bool = False


def contrasts(pairs: Sequence[tuple[str, str]], kinds: Sequence[str]) -> list[Contrast]:
    """Every pair in every respect, over all teachers."""
    return [Contrast(kind, a, b, None) for a, b in pairs for kind in kinds]


def single_tests(tries: Tries, asked: Sequence[Contrast], generator: np.random.Generator) -> list[Contrast]:
    """Each of `asked` answered as if it were the only one."""
    return [answered_together(tries, [one], generator)[0] for one in asked]


def answered_together(
    tries: Tries, asked: Sequence[Contrast], generator: np.random.Generator, *, intervals: bool = True
) -> list[Contrast]:
    """`asked` with estimates, simultaneous 95% intervals, p values and p values corrected for each other.

    Intervals are left out (NaN) without `intervals`, which is most of the work.
    """
    parts = [_parts(tries, one) for one in asked]
    asked = [
        replace(one, estimate=_estimate(one.kind, first, second), simultaneous=len(asked) > 1)
        for one, (first, second) in zip(asked, parts, strict=True)
    ]
    n = len(tries.seeds)
    if n < MIN_SEEDS or not asked or not all(np.isfinite(first).all() for first, _ in parts):
        return asked
    if not tries.paired:
        return _independent(asked, parts, generator)
    units = [(first.mean(axis=0), second.mean(axis=0)) for first, second in parts]
    if n < flips.MIN_SEEDS:
        return _by_t(asked, units, intervals=intervals)
    return _by_flips(asked, units, generator, intervals=intervals)


def _parts(tries: Tries, one: Contrast) -> tuple[FloatArray, FloatArray]:
    """What is compared of a and of b, each (T, n): FIDs, scores of spread, or 1 for collapsed members."""
    rows = [tries.methods.index(one.a), tries.methods.index(one.b)]
    columns = slice(None) if one.teacher is None else [tries.teachers.index(one.teacher)]
    if one.kind == "mean":
        first, second = worst_filled(tries.fid)[rows][:, columns]
    elif one.kind == "spread":
        first, second = spread_scores(*tries.fid[rows][:, columns])
    else:
        first, second = tries.collapsed[rows][:, columns].astype(np.float64)
    return first, second


def _estimate(kind: str, first: FloatArray, second: FloatArray) -> float:
    return spread_ratio(first, second) if kind == "spread" else float(first.mean() - second.mean())


def _by_flips(
    asked: Sequence[Contrast], units: Sequence[tuple[FloatArray, FloatArray]], generator: np.random.Generator, *,
    intervals: bool,
) -> list[Contrast]:  # fmt: skip
    """Step-down max-T over sign flips of whole seeds; intervals from the same flips."""
    n = len(units[0][0])
    differences = np.stack([first - second for first, second in units])
    centred = np.stack([_around(one, *unit) for one, unit in zip(asked, units, strict=True)])
    if n > flips.NORMAL_FROM:
        return _in_the_limit(asked, units, differences, centred, generator)
    signs = flips.sign_flips(n, generator)
    observed = flips.flip_statistics(differences, signs)
    adjusted = flips.step_down(observed)
    raw = (observed >= observed[:, :1] * (1 - 1e-9)).mean(axis=1)
    around = flips.flip_statistics(centred, signs) if intervals else None
    found = []
    for place, (one, unit) in enumerate(zip(asked, units, strict=True)):
        interval = NAN if around is None else _flip_interval(one, unit, signs, np.delete(around, place, axis=0))
        found.append(
            replace(
                one, interval=interval, p=float(raw[place]), p_adjusted=float(adjusted[place]), floor=flips.floor(n)
            )
        )
    return found


def _flip_interval(
    one: Contrast, unit: tuple[FloatArray, FloatArray], signs: FloatArray, others: FloatArray
) -> Interval:
    """The interval of `one` that holds at once with those whose statistics under these flips are `others` (m, F)."""
    first, second = unit
    if one.kind == "collapse":
        return collapse_interval(first - second, 1 - (1 - LEVEL) / (len(others) + 1))
    least = others.max(axis=0) if len(others) else None
    if one.kind == "spread":
        return flips.flip_interval(first, second, signs, estimate=one.estimate, others=least, ratio=True)
    return flips.flip_interval(first - second, np.ones(len(first)), signs, estimate=one.estimate, others=least)


def _in_the_limit(
    asked: Sequence[Contrast], units: Sequence[tuple[FloatArray, FloatArray]], differences: FloatArray,
    centred: FloatArray, generator: np.random.Generator,
) -> list[Contrast]:  # fmt: skip
    """The same for many seeds: the sums of flips are normal, and intervals reach as far as their 95% quantile."""
    n = differences.shape[1]
    adjusted = flips.step_down(flips.limit_statistics(differences, generator))
    reach = float(np.quantile(flips.limit_statistics(centred, generator).max(axis=0), LEVEL))
    found = []
    for place, (one, (_, second)) in enumerate(zip(asked, units, strict=True)):
        half = reach * float(centred[place].std(ddof=1)) / np.sqrt(n)
        half = half / float(second.mean()) if one.kind == "spread" and second.mean() > 0 else half
        p = float(flips.paired_t_p(differences[place]))
        interval = (one.estimate - half, one.estimate + half)
        found.append(replace(one, interval=interval, p=p, p_adjusted=max(p, float(adjusted[place])), floor=0.0))
    return found


def _by_t(
    asked: Sequence[Contrast], units: Sequence[tuple[FloatArray, FloatArray]], *, intervals: bool
) -> list[Contrast]:
    """Three to five seeds, whose sign flips cannot reach 5%: t tests of the differences, Holm and Bonferroni.

    Collapses, zeros and ones, have no t test: their exact p is shown and takes no part in the correction.
    """
    n = len(units[0][0])
    level = 1 - (1 - LEVEL) / len(asked)
    exact = flips.sign_flips(n, np.random.default_rng(0))  # all of them
    p = np.array([
        float(flips.sign_flip_p(first - second, exact) if one.kind == "collapse" else flips.paired_t_p(first - second))
        for one, (first, second) in zip(asked, units, strict=True)
    ])  # fmt: skip
    adjusted = unpaired.holm(np.where([one.kind == "collapse" for one in asked], np.nan, p))
    return [
        replace(
            one,
            interval=_t_interval(one, unit, level) if intervals else NAN,
            p=float(p[place]),
            p_adjusted=float(adjusted[place]),
            floor=flips.floor(n) if one.kind == "collapse" else 0.0,
        )
        for place, (one, unit) in enumerate(zip(asked, units, strict=True))
    ]


def _t_interval(one: Contrast, unit: tuple[FloatArray, FloatArray], level: float) -> Interval:
    first, second = unit
    if one.kind == "collapse":
        return collapse_interval(first - second, level)
    if one.kind == "spread":
        return flips.t_interval(first, second, estimate=one.estimate, ratio=True, level=level)
    return flips.t_interval(first - second, np.ones(len(first)), estimate=one.estimate, ratio=False, level=level)


def _independent(
    asked: Sequence[Contrast], parts: Sequence[tuple[FloatArray, FloatArray]], generator: np.random.Generator
) -> list[Contrast]:
    """Permutations within each teacher, corrected by Holm; intervals at Bonferroni's level."""
    found = []
    level = 1 - (1 - LEVEL) / len(asked)
    for one, (first, second) in zip(asked, parts, strict=True):
        strata, n = first.shape
        floor = unpaired.floor(n, n, strata=strata)
        if one.kind == "collapse":
            p, interval = unpaired.fisher_p(first > 0, second > 0), NAN
        else:
            masks = unpaired.regroupings(n, n, generator, strata=strata)
            p = float(unpaired.permutation_p(first, second, masks))
            interval = unpaired.permutation_interval(first, second, masks, ratio=one.kind == "spread", level=level)
        found.append(replace(one, interval=interval, p=p, floor=floor))
    adjusted = unpaired.holm(np.array([one.p for one in found]))
    return [replace(one, p_adjusted=float(p)) for one, p in zip(found, adjusted, strict=True)]


def _around(one: Contrast, first: FloatArray, second: FloatArray) -> FloatArray:
    """The differences (n,) where the truth is the estimate: of sum zero."""
    if one.kind == "spread":
        return np.asarray(first - (one.estimate if np.isfinite(one.estimate) else 1.0) * second)
    return np.asarray(first - second - one.estimate)


def collapse_interval(differences: FloatArray, level: float = LEVEL) -> Interval:
    """Interval of a paired difference of collapse rates, `differences` (n,) in -1..1 a seed.

    Bonett and Price (2012): a normal interval after one seed of each kind of disagreement is added.
    """
    padded = np.append(differences, [1.0, -1.0])
    half = float(special.ndtri((1 + level) / 2)) * float(padded.std()) / np.sqrt(len(padded))
    return max(-1.0, float(padded.mean()) - half), min(1.0, float(padded.mean()) + half)

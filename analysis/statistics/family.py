"""Declare, then test: every claim of a report belongs to one sequence of hypotheses that is wrong in 5% at most.

The order is fixed before the data are seen (Maurer, Hothorn and Lehmacher 1995): the primary pair's means, its spreads,
its means at the largest teacher, then all others against the baseline at once. Testing stops at the first step that is
not supported; `p_adjusted` is the largest p up to a hypothesis, so that supported means p_adjusted <= 5%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.statistics.common_seeds import Tries
from analysis.statistics.contrasts import Contrast, answered_together, contrasts, single_tests
from analysis.statistics.intervals import Interval

ALPHA = 0.05
MAX_ALL_PAIRS = 20  # methods
PRIMARY_MEAN, PRIMARY_SPREAD = "primary mean", "primary spread"
PRIMARY_LARGEST, OTHERS, DESCRIPTIVE = "primary at the largest teacher", "others", "descriptive"


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """Method a against method b in one respect, over all teachers (`teacher` None) or at one.

    estimate: a - b in FID points (mean), mean absolute deviation of a / of b (spread; 1: alike), or difference of
    collapse rates (collapse). `p` stands alone, `p_adjusted` counts for the whole report and is NaN for what is shown
    only. `interval` holds alone, or with the others of its stage at once where `simultaneous`. `equivalent` (of means,
    with a margin): the whole interval lies within the margin, and no step before stopped the sequence.
    """

    kind: str  # mean, spread or collapse
    a: str
    b: str
    teacher: str | None
    stage: str
    n: int
    estimate: float
    interval: Interval
    p: float
    p_adjusted: float
    floor: float  # the smallest p that these tries could give
    supported: bool
    equivalent: bool | None
    simultaneous: bool


@dataclass(frozen=True, kw_only=True)
class Family:
    """All hypotheses in the order in which they are tested, then those that are shown only.

    `closed_by` is the first step that is not supported: nothing after it can be. None where every step is.
    """

    hypotheses: tuple[Hypothesis, ...]
    baseline: str
    primary: tuple[str, str]
    closed_by: Hypothesis | None


def family_of(
    tries: Tries, *, baseline: str, primary: tuple[str, str], generator: np.random.Generator, all_pairs: bool = False,
    margin: float | None = None,
) -> Family:  # fmt: skip
    """The sequence of `tries`: `primary` (a, b) first, then every other method against `baseline`.

    `all_pairs` puts every other pair into the last step as well. `margin` in FID points declares when two means are
    equivalent. Raises ValueError where a declared method has no tries in common with the others.
    """
    for name in (baseline, *primary):
        if name not in tries.methods:
            raise ValueError(f"report.baseline and report.primary must be one of {', '.join(tries.methods)} "
                             f"but got {name!r}")  # fmt: skip
    if all_pairs and len(tries.methods) > MAX_ALL_PAIRS:
        raise ValueError(f"report.all_pairs must be false for more than {MAX_ALL_PAIRS} methods but there are "
                         f"{len(tries.methods)}")  # fmt: skip
    if primary[0] == primary[1]:
        raise ValueError(f"report.primary must name two methods but got {primary[0]!r} twice")
    found: list[Hypothesis] = []
    for stage, chosen in _sequence(tries, primary):
        (one,) = single_tests(tries, [chosen], generator)
        found.append(_hypothesis(one, stage, tries))
    last = answered_together(tries, _others(tries, baseline, primary, all_pairs=all_pairs), generator)
    found += [_hypothesis(one, OTHERS, tries) for one in last]
    found, closed_by = _gated(found, margin)
    shown = single_tests(tries, _each_teacher(tries, baseline, primary), generator)
    found += [replace(_hypothesis(one, DESCRIPTIVE, tries), p_adjusted=float("nan")) for one in shown]
    return Family(hypotheses=tuple(found), baseline=baseline, primary=primary, closed_by=closed_by)


def _sequence(tries: Tries, primary: tuple[str, str]) -> list[tuple[str, Contrast]]:
    steps = [(PRIMARY_MEAN, Contrast("mean", *primary, None)), (PRIMARY_SPREAD, Contrast("spread", *primary, None))]
    if len(tries.teachers) > 1:
        steps.append((PRIMARY_LARGEST, Contrast("mean", *primary, tries.teachers[-1])))
    return steps


def _others(tries: Tries, baseline: str, primary: tuple[str, str], *, all_pairs: bool) -> list[Contrast]:
    pairs = [(name, baseline) for name in tries.methods if name != baseline and {name, baseline} != set(primary)]
    if all_pairs:
        pairs += [
            (a, b)
            for place, a in enumerate(tries.methods)
            for b in tries.methods[place + 1 :]
            if baseline not in (a, b) and {a, b} != set(primary)
        ]
    return [*contrasts(pairs, ("mean", "spread", "collapse")), Contrast("collapse", *primary, None)]


def _each_teacher(tries: Tries, baseline: str, primary: tuple[str, str]) -> list[Contrast]:
    """Every pair of the sequence at every single teacher, but what the sequence holds already."""
    if len(tries.teachers) < 2:
        return []
    pairs = [(name, baseline) for name in tries.methods if name != baseline and {name, baseline} != set(primary)]
    found = [
        Contrast(kind, a, b, teacher)
        for teacher in tries.teachers
        for a, b in (primary, *pairs)
        for kind in ("mean", "spread")
    ]
    return [one for one in found if one != Contrast("mean", *primary, tries.teachers[-1])]


def _hypothesis(one: Contrast, stage: str, tries: Tries) -> Hypothesis:
    return Hypothesis(
        kind=one.kind, a=one.a, b=one.b, teacher=one.teacher, stage=stage, n=len(tries.seeds), estimate=one.estimate,
        interval=one.interval, p=one.p, p_adjusted=one.p_adjusted, floor=one.floor, supported=False, equivalent=None,
        simultaneous=one.simultaneous,
    )  # fmt: skip


def _gated(steps: Sequence[Hypothesis], margin: float | None) -> tuple[list[Hypothesis], Hypothesis | None]:
    """The steps with the largest p so far, and the first single step that is not supported.

    A difference of zero and a difference as large as the margin cannot both be true, so that asking for equivalence at
    the step where the sequence stops costs no error. What cannot be tested (p NaN) is no step.
    """
    reached, closed_by, found = 0.0, None, []
    for one in steps:
        open_here = closed_by is None
        adjusted = one.p_adjusted if np.isnan(one.p_adjusted) else max(reached, one.p_adjusted)
        equivalent = None
        if margin is not None and one.kind == "mean":
            equivalent = open_here and -margin < one.interval[0] and one.interval[1] < margin
        step = replace(one, p_adjusted=adjusted, supported=bool(adjusted <= ALPHA), equivalent=equivalent)
        found.append(step)
        if one.stage != OTHERS and not np.isnan(adjusted):
            reached = adjusted
            closed_by = step if open_here and not step.supported else closed_by
    return found, closed_by

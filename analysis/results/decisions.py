"""What the sequential rule decided: confirm seeds are added one at a time until two methods are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.results.searches import Arm
from analysis.statistics.sequential import decided
from analysis.statistics.summary import mean


@dataclass(frozen=True)
class Decision:
    """What the sequential rule decided between the chosen settings of two methods at one teacher.

    seeds: after how many confirm seeds; None: not decided by the last. difference: a minus b there, in FID points.
    """

    a: str
    b: str
    teacher: str
    first: int
    last: int
    alpha: float
    seeds: int | None
    difference: float

    @property
    def pair(self) -> frozenset[str]:
        """The labels of the two cells that are compared."""
        return frozenset({f"{self.a} (tuned)", f"{self.b} (tuned)"})


def sequential_decisions(arms: Sequence[Arm]) -> list[Decision]:
    """The decision of every comparison that confirm seeds were added for, as the sweep makes it.

    With several teachers each has its part of alpha (study/search/confirm.py).
    """
    found = []
    for key in sorted({(arm.protocol_id, arm.teacher) for arm in arms}):
        group = [arm for arm in arms if (arm.protocol_id, arm.teacher) == key]
        rule = group[0].protocol["sequential_seeds"]
        pair = [arm for arm in group if rule and arm.method in rule["compare"]]
        if len(pair) != 2:
            continue
        a, b = (dict(zip(arm.confirm_seeds, arm.confirmed.tolist(), strict=True)) for arm in pair)
        order = [seed for seed in group[0].protocol["confirm_seeds"] if seed in a and seed in b]
        differences = np.array([a[seed] - b[seed] for seed in order], dtype=np.float64)
        alpha = rule["alpha"] / len({arm.teacher for arm in arms if arm.protocol_id == key[0]})
        first, last = rule["first"], len(group[0].protocol["confirm_seeds"])
        seeds = decided(differences, first=first, last=last, alpha=alpha)
        known = differences[: seeds or len(differences)]
        found.append(Decision(pair[0].method, pair[1].method, key[1], first, last, alpha, seeds, mean(known)))
    return found


def headline_of(one: Decision) -> str:
    """The decision in one sentence."""
    if one.seeds is None:
        return (
            f"After {one.last} fresh seeds at {one.teacher} the sequential rule has not decided between"
            f" {one.a} (tuned) and {one.b} (tuned)."
        )
    better, worse = (one.a, one.b) if one.difference < 0 else (one.b, one.a)
    return (
        f"After {one.seeds} fresh seeds at {one.teacher} the sequential rule decided: {better} (tuned) has a lower mean"
        f" FID than {worse} (tuned), by {abs(one.difference):.1f} points (error over all looks {one.alpha:.3g})."
    )


def decision_text(one: Decision) -> str:
    """The sequential rule's decision in a sentence."""
    start = (
        f"Sequential rule, {one.teacher}: {one.a} (tuned) against {one.b} (tuned), a look after every seed from"
        f" {one.first} to {one.last}, error over all looks {one.alpha:.3g}"
    )
    if one.seeds is None:
        return f"{start}: not decided. A test with a fixed number of seeds does not apply to this pair."
    better, worse = (one.a, one.b) if one.difference < 0 else (one.b, one.a)
    return (
        f"{start}: decided after {one.seeds} seeds, {better} has the lower mean FID than {worse}, by"
        f" {abs(one.difference):.1f} points. A test with a fixed number of seeds does not apply to this pair."
    )

"""Sentences of the report: one comparison or one trend each, with its interval and its corrected p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.statistics.comparisons import ALPHA, Comparison
from analysis.statistics.intervals import Interval
from analysis.statistics.power import NUM_SEEDS, SeedsNeeded
from analysis.statistics.trends import SlopeDifference, Trend


def p_text(p: float) -> str:
    """A p value in words: p < 0.001 where it is smaller."""
    if not math.isfinite(p):
        return "no test"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def interval_text(interval: Interval, digits: int = 1) -> str:
    if not all(map(math.isfinite, interval)):
        return "no interval"
    if max(map(abs, interval)) < 1:
        digits = max(digits, 2)
    return f"{_signed(interval[0], digits)} to {_signed(interval[1], digits)}"


def ratio_text(value: float) -> str:
    """A ratio with two significant digits, or with none where it is large."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def ratio_interval_text(interval: Interval) -> str:
    if not all(map(math.isfinite, interval)):
        return "no interval"
    return f"{ratio_text(interval[0])} to {ratio_text(interval[1])}"


@dataclass(frozen=True)
class Rival:
    """A comparison seen from the best method: differences are rival - best, ratios rival / best."""

    name: str
    difference: float
    difference_interval: Interval
    p_mean: float
    ratio: float
    ratio_interval: Interval
    p_spread: float


def seen_from(best: str, one: Comparison) -> Rival:
    low, high = one.mean_difference_interval
    ratio_low, ratio_high = one.std_ratio_interval
    if one.a == best:
        return Rival(
            one.b, -one.mean_difference, (-high, -low), one.p_mean_holm,
            _inverse(one.std_ratio), (_inverse(ratio_high), _inverse(ratio_low)), one.p_spread_holm,
        )  # fmt: skip
    return Rival(
        one.a, one.mean_difference, (low, high), one.p_mean_holm,
        one.std_ratio, (ratio_low, ratio_high), one.p_spread_holm,
    )  # fmt: skip


def _inverse(value: float) -> float:
    return 1 / value if value else float("inf")


def verdicts(rivals: Sequence[Rival], kind: str) -> str:
    """What is shown of the rivals against the best, by mean or spread, and what is not; one try has no spread."""
    if kind == "spread":
        rivals = [rival for rival in rivals if not math.isnan(rival.ratio)]
    if not rivals:
        return "one try a cell says nothing of it"
    shown: list[str] = []
    undecided: list[str] = []
    for rival in rivals:
        p = rival.p_mean if kind == "mean" else rival.p_spread
        if kind == "mean":
            text = f"{rival.name} is {rival.difference:.1f} points worse ({interval_text(rival.difference_interval)}"
        else:
            bounds = ratio_interval_text(rival.ratio_interval)
            text = f"{rival.name}'s std is {ratio_text(rival.ratio)} times as large ({bounds}"
        (shown if p <= ALPHA else undecided).append(f"{text}; {p_text(p)})")
    if not undecided:
        return _listed(shown)
    tail = f"not shown to differ: {_listed(undecided)}"
    return f"{_listed(shown)}; {tail}" if shown else tail


def _listed(texts: Sequence[str], most: int = 5) -> str:
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def mean_text(one: Comparison) -> str | None:
    if not one.p_mean_holm <= ALPHA:
        return None
    better, worse = (one.a, one.b) if one.mean_difference < 0 else (one.b, one.a)
    low, high = sorted(map(abs, one.mean_difference_interval))
    return (
        f"{better} has a lower mean FID than {worse}: by {abs(one.mean_difference):.1f} points "
        f"(95% interval {low:.1f} to {high:.1f}; {p_text(one.p_mean_holm)}, Holm)."
    )


def spread_text(one: Comparison) -> str | None:
    if not one.p_spread_holm <= ALPHA:
        return None
    best = one.a if one.std_ratio < 1 else one.b
    rival = seen_from(best, one)
    return (
        f"{best} spreads less than {rival.name}: {rival.name}'s std is {ratio_text(rival.ratio)} times as large "
        f"(95% interval {ratio_interval_text(rival.ratio_interval)}; {p_text(rival.p_spread)}, Holm)."
    )


def slope_text(one: SlopeDifference) -> str | None:
    texts = []
    if one.p_mean_holm <= ALPHA:
        steep, other, low, high = one.a, one.b, *one.mean.interval
        if one.mean.value < 0:
            steep, other, low, high = one.b, one.a, -high, -low
        texts.append(
            f"the mean FID of {steep} rises by {abs(one.mean.value):.1f} points more than that of {other} "
            f"(95% interval {interval_text((low, high))}; {p_text(one.p_mean_holm)}, Holm)"
        )
    if one.p_spread_holm <= ALPHA:
        steep, other = (one.b, one.a) if one.log2_std.value < 0 else (one.a, one.b)
        texts.append(
            f"the std of {steep} grows {ratio_text(2 ** abs(one.log2_std.value))} times as fast as that of {other} "
            f"({p_text(one.p_spread_holm)}, Holm)"
        )
    return f"With every doubling of the capacity gap, {' and '.join(texts)}." if texts else None


def undecided_texts(one: Comparison, needed: SeedsNeeded | None) -> list[str]:
    """What this pair leaves open, in mean and in spread, and the seeds that would settle it."""
    texts = []
    if not one.p_mean_holm <= ALPHA:
        texts.append(
            f"Mean of {one.a} against {one.b}: {_signed(one.mean_difference, 1)} points "
            f"({interval_text(one.mean_difference_interval)}; {p_text(one.p_mean_holm)}){_needed_text(needed, 'mean')}."
        )
    if not one.p_spread_holm <= ALPHA:
        texts.append(
            f"Spread of {one.a} against {one.b}: std {ratio_text(one.std_ratio)} times as large "
            f"({ratio_interval_text(one.std_ratio_interval)}; {p_text(one.p_spread_holm)})"
            f"{_needed_text(needed, 'spread')}."
        )
    return texts


def _needed_text(needed: SeedsNeeded | None, kind: str) -> str:
    if needed is None:
        return ""
    seeds = needed.mean if kind == "mean" else needed.spread
    return f"; {f'about {seeds}' if seeds else f'more than {NUM_SEEDS[-1]}'} seeds would show it"


def undecided_slope(one: SlopeDifference, trends: Sequence[Trend]) -> str | None:
    """The growth of both stds with the gap, where they are not shown to differ."""
    if one.p_spread_holm <= ALPHA or not math.isfinite(one.log2_std.value):
        return None
    growth = {trend.method: trend.log2_std for trend in trends if trend.axis == "capacity gap"}
    if one.a not in growth or one.b not in growth:
        return None
    each = " and ".join(
        f"{name}'s std by {ratio_text(2 ** growth[name].value)} "
        f"({ratio_interval_text(_power_of_two(growth[name].interval))})"
        for name in (one.a, one.b)
    )
    return f"Growth of spread: a doubling of the gap multiplies {each}; {p_text(one.p_spread_holm)} that they differ."


def _power_of_two(interval: Interval) -> Interval:
    return 2.0 ** interval[0], 2.0 ** interval[1]

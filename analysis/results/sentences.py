"""Sentences of the report: one comparison or one trend each, with its interval, its p and its corrected p."""

from __future__ import annotations

import math

from analysis.results.text import signed
from analysis.statistics.family import Hypothesis
from analysis.statistics.intervals import Interval
from analysis.statistics.teacher_trends import Trend


def p_text(p: float, name: str = "p") -> str:
    """A p value in words: p < 0.001 where it is smaller."""
    if not math.isfinite(p):
        return "no test"
    if p < 0.001:
        return f"{name} < 0.001"
    return f"{name} = {p:.4f}" if p < 0.01 else f"{name} = {p:.3f}" if p < 0.1 else f"{name} = {p:.2f}"


def both_p(one: Hypothesis) -> str:
    """The p of the test alone, and the one corrected for the family of this report."""
    if math.isnan(one.p_adjusted) or abs(one.p - one.p_adjusted) < 5e-5:
        return p_text(one.p)
    return f"{p_text(one.p)}, {p_text(one.p_adjusted, 'corrected p')}"


def interval_text(interval: Interval, digits: int = 1) -> str:
    if not all(map(math.isfinite, interval)):
        return "no interval"
    if max(map(abs, interval)) < 1:
        digits = max(digits, 2)
    return f"{signed(interval[0], digits)} to {signed(interval[1], digits)}"


def points_text(value: float) -> str:
    """A distance in FID points; enough digits not to be 0 where it is not."""
    digits = 1 if abs(value) >= 0.95 else 2
    return f"{abs(value):.{digits}f} points"


def ratio_text(value: float) -> str:
    """A ratio with two significant digits, with more near 1, and with none after the point where it is large."""
    if not math.isfinite(value):
        return "–"
    if value >= 9.5:
        return f"{value:.0f}"
    return f"{value:.2f}" if 0.95 <= value < 1.05 else f"{value:.2g}"


def ratio_interval_text(interval: Interval) -> str:
    if any(map(math.isnan, interval)):
        return "no interval"
    if math.isinf(interval[1]):
        return f"{ratio_text(interval[0])} or more"
    return f"{ratio_text(interval[0])} to {ratio_text(interval[1])}"


def effect_text(one: Hypothesis) -> str:
    """The size of what was found, with its interval, as a − b or a / b."""
    if one.kind == "mean":
        digits = 2 if max(map(abs, (one.estimate, *one.interval))) < 1 else 1
        return f"{signed(one.estimate, digits)} points [{interval_text(one.interval)}]"
    if one.kind == "spread":
        return f"×{ratio_text(one.estimate)} [{ratio_interval_text(one.interval)}]"
    low, high = (signed(100 * bound, 0) for bound in one.interval)
    return f"{signed(100 * one.estimate, 0)} percentage points [{low} to {high}]"


def supported_text(one: Hypothesis) -> str:
    """What a supported comparison says, the better method first."""
    better, worse, value, (low, high) = _better_first(one)
    at = f" at {one.teacher}" if one.teacher else ""
    tail = f"{_interval_name(one)} {{}}; {both_p(one)})"
    if one.kind == "mean":
        bounds = tail.format(interval_text((low, high)))
        return f"{better} has a lower mean FID than {worse}{at}, by {points_text(value)} ({bounds}"
    if one.kind == "spread":
        bounds = tail.format(ratio_interval_text((low, high)))
        return (
            f"{better} spreads less than {worse}{at}: the tries of {worse} lie {ratio_text(value)} times as far from"
            f" their median ({bounds}"
        )
    bounds = tail.format(f"{signed(100 * low, 0)} to {signed(100 * high, 0)}")
    return f"{better} collapses less often than {worse}{at}, by {signed(100 * value, 0)} percentage points ({bounds}"


def equivalent_text(one: Hypothesis, margin: float) -> str:
    at = f" at {one.teacher}" if one.teacher else ""
    return (
        f"{one.a} and {one.b} are equivalent{at}: their mean FIDs differ by less than the declared {margin:g} points"
        f" ({interval_text(one.interval)})"
    )


def undecided_text(one: Hypothesis) -> str:
    at = f" at {one.teacher}" if one.teacher else ""
    name = {"mean": "Mean", "spread": "Spread", "collapse": "Collapse rate"}[one.kind]
    sign = "/" if one.kind == "spread" else "−"
    return f"{name}{at}, {one.a} {sign} {one.b}: {effect_text(one)} ({both_p(one)})"


def trend_text(one: Trend) -> str:
    """A trend that rests on one teacher, with and without it."""
    without = dict(one.without).get(one.rests_on or "", math.nan)
    return (
        f"{one.method} {signed(one.slope, plus=True)} FID points with every doubling, without {one.rests_on}"
        f" {signed(without, plus=True)} (lack of fit {p_text(one.p_lack_of_fit)})"
    )


def _interval_name(one: Hypothesis) -> str:
    return "simultaneous 95% interval" if one.simultaneous else "95% interval"


def _better_first(one: Hypothesis) -> tuple[str, str, float, Interval]:
    """Better, worse, how much worse (a difference or a ratio above 1), and its interval."""
    low, high = one.interval
    if one.kind == "spread":
        if one.estimate <= 1:
            return one.a, one.b, _inverse(one.estimate), (_inverse(high), _inverse(low))
        return one.b, one.a, one.estimate, (low, high)
    if one.estimate <= 0:
        return one.a, one.b, -one.estimate, (-high, -low)
    return one.b, one.a, one.estimate, (low, high)


def _inverse(value: float) -> float:
    return 1 / value if value else math.inf

"""Says in sentences what the tries of a study support, what they leave open, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.results.decisions import Decision, headline_of
from analysis.results.sentences import (
    effect_text,
    equivalent_text,
    p_text,
    supported_text,
    trend_text,
    undecided_text,
)
from analysis.results.settings import ReportSettings
from analysis.results.text import number, percent
from analysis.statistics.common_seeds import Tries, ranking, worst_filled
from analysis.statistics.family import ALPHA, DESCRIPTIVE, Family, Hypothesis
from analysis.statistics.intervals import rate_interval
from analysis.statistics.power import fit_pair, seeds_needed
from analysis.statistics.summary import Entry
from analysis.statistics.teacher_trends import MIN_TEACHERS, Trend

SMALLEST_FID = 0.01  # where all FIDs are below, the features are the same for every image


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Sentences for the top of the report. `needed`: seeds that would show the primary mean and spread; 0 where shown.

    needed: None where more seeds do not show it, or no model of the pair can be made.
    """

    headline: str  # at most two sentences
    best: str  # the lowest means, or why none is named
    supported: tuple[str, ...]
    undecided: tuple[str, ...]  # what matters most first
    notes: tuple[str, ...]
    needed: dict[str, int | None]
    suggested_seeds: tuple[int, ...]  # what to give study.sweep as seeds=[...]; empty where more seeds do not help


def find(
    entries: Sequence[Entry],
    tries: Tries | None,
    family: Family | None,
    trends: Sequence[Trend],
    *,
    settings: ReportSettings,
    generator: np.random.Generator,
    decisions: Sequence[Decision] = (),
) -> Findings:
    """The findings of a report; a pair that seeds were added for one at a time has its rule's decision and no p."""
    ruled = {one.pair for one in decisions}
    tested = [one for one in shown(family, tries) if one.stage != DESCRIPTIVE and not _is_ruled(one, ruled)]
    supported = [f"{supported_text(one)}." for one in tested if one.supported]
    if settings.margin is not None:
        supported += [f"{equivalent_text(one, settings.margin)}." for one in tested if one.equivalent]
    needed = _needed(tries, family, generator)
    return Findings(
        headline=_headline(entries, tries, family, decisions),
        best=_best(tries),
        supported=tuple(supported),
        undecided=tuple(
            f"{undecided_text(one)}{_needed_text(one, family, needed)}."
            for one in by_weight(tested)
            if not one.supported
        ),
        notes=tuple(_notes(entries, tries, family, trends, settings)),
        needed=needed,
        suggested_seeds=_suggested(tries, needed),
    )


def shown(family: Family | None, tries: Tries | None) -> list[Hypothesis]:
    """The hypotheses of the family; those on collapse only where a compared method collapsed."""
    if family is None or tries is None:
        return []
    broken = {method for method, flags in zip(tries.methods, tries.collapsed, strict=True) if flags.any()}
    return [one for one in family.hypotheses if one.kind != "collapse" or {one.a, one.b} & broken]


def by_weight(hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The declared sequence in its order, then means before spreads before collapses, each by the p of its test."""
    kinds = ("mean", "spread", "collapse")

    def key(one: Hypothesis) -> tuple[bool, int, float]:
        if one.stage.startswith("primary"):
            return False, 0, 0.0
        return True, kinds.index(one.kind), one.p if math.isfinite(one.p) else 2.0

    return sorted(hypotheses, key=key)


def _is_ruled(one: Hypothesis, ruled: set[frozenset[str]]) -> bool:
    return one.kind == "mean" and frozenset((one.a, one.b)) in ruled


def _headline(
    entries: Sequence[Entry], tries: Tries | None, family: Family | None, decisions: Sequence[Decision]
) -> str:
    if not entries:
        return "Only searched members so far. What they found must be confirmed on fresh seeds: protocol=tuned does."
    if tries is None or family is None:
        return _no_family(entries, tries)
    mean, spread = (_primary(family, kind) for kind in ("mean", "spread"))
    assert mean is not None  # every family begins with it
    over = f"{_scope(tries)}, "
    decision = next((one for one in decisions if one.pair == frozenset(family.primary)), None)
    if decision is not None:
        return headline_of(decision)
    first = f"{over}{supported_text(mean)}." if mean.supported else f"{over}{_not_shown(mean)}."
    if spread is None:
        return first
    if spread.supported:
        return f"{first} {supported_text(spread)}."
    return f"{first} {_not_shown(spread, start='No')}."


def _not_shown(one: Hypothesis, start: str = "no") -> str:
    what = {"mean": "the mean FIDs", "spread": "the spreads", "collapse": "the collapse rates"}[one.kind]
    text = f"{start} difference between {what} of {one.a} and {one.b} is shown"
    if math.isfinite(one.floor) and one.floor > ALPHA:
        return f"{text}: the exact test of {one.n} tries cannot go below p = {one.floor:.4g}"
    if not math.isfinite(one.p):
        return f"{text}: {one.n} {'try allows' if one.n == 1 else 'tries allow'} no test"
    return f"{text}: {effect_text(one)}, {p_text(one.p)}"


def _scope(tries: Tries) -> str:
    seeds = f"{'the same ' if tries.paired else ''}{_count(len(tries.seeds), 'seed' if tries.paired else 'try')} a cell"
    count = len(tries.teachers)
    return f"Over {_count(count, 'teacher')} and {seeds}" if count > 1 else f"With one teacher and {seeds}"


def _no_family(entries: Sequence[Entry], tries: Tries | None) -> str:
    if not any(np.isfinite(cell.fid).any() for cell, _ in entries):
        return "No member of this study has a FID: all diverged."
    if tries is not None and len(tries.methods) > 1 and is_blind(tries):
        return (
            "The FIDs tell no method apart: they are all equal or all about 0, as when the feature extractor gives the"
            " same features for every image (random weights do). No method can be called better."
        )
    methods = {cell.method for cell, _ in entries}
    if len(methods) == 1:
        return f"{next(iter(methods))} is the only method, so there is nothing to compare it with."
    return "No two methods can be compared: they share no teacher and seed."


def is_blind(tries: Tries) -> bool:
    """Whether the FIDs tell nothing apart: all equal, all about 0, or none there."""
    known = tries.fid[np.isfinite(tries.fid)]
    if not len(known):
        return True
    highest = float(np.abs(known).max())
    return highest < SMALLEST_FID or float(np.ptp(known)) <= 1e-9 * highest


def _best(tries: Tries | None) -> str:
    if tries is None or is_blind(tries) or len(tries.methods) < 2:
        return ""
    filled = worst_filled(tries.fid)
    listed = [
        f"{tries.methods[place]} {'at least ' if np.isnan(tries.fid[place]).any() else ''}"
        f"{number(float(filled[place].mean()), 1)}"
        for place in ranking(tries)[:3]
    ]
    return f"Lowest mean FIDs, not tested as such: {', '.join(listed)}."


def _primary(family: Family, kind: str) -> Hypothesis | None:
    return next((one for one in family.hypotheses if one.stage == f"primary {kind}"), None)


def _notes(
    entries: Sequence[Entry],
    tries: Tries | None,
    family: Family | None,
    trends: Sequence[Trend],
    settings: ReportSettings,
) -> list[str]:
    notes = []
    if tries is not None and tries.num_left_out:
        notes.append(
            f"{_count(tries.num_left_out, 'seed')} that not every compared method has at every teacher"
            f" {'is' if tries.num_left_out == 1 else 'are'} left out of every mean, std, interval and p of a"
            " comparison; Every statistic of every cell, below, has all of them."
        )
    if family is not None and family.closed_by is not None:
        one = family.closed_by
        at = f" at {one.teacher}" if one.teacher else ""
        notes.append(
            f"The sequence of declared comparisons stops at the {one.kind} of {one.a} against {one.b}{at}"
            f" ({p_text(one.p)}): nothing after it counts as supported, whatever its own p."
        )
    if tries is not None and not tries.paired:
        notes.append("The tries of different methods share no known seed, so they are compared as independent groups.")
    notes += _trend_notes(trends)
    if tries is not None and 1 < len(tries.teachers) < MIN_TEACHERS:
        notes.append(f"A trend over the capacity gap needs at least {MIN_TEACHERS} teachers.")
    return [*notes, *_collapse_notes(entries, settings)]


def _trend_notes(trends: Sequence[Trend]) -> list[str]:
    """The steepest trends that rest on one teacher, in one sentence."""
    found = sorted((one for one in trends if one.rests_on and abs(one.slope) >= 1), key=lambda one: -abs(one.slope))
    if not found:
        return []
    return [
        f"A trend over the capacity gap that rests on one teacher is no trend: {'; '.join(map(trend_text, found[:3]))}."
    ]


def _collapse_notes(entries: Sequence[Entry], settings: ReportSettings) -> list[str]:
    broken = [(cell, summary) for cell, summary in entries if cell.collapsed.any()]
    if broken:
        parts = [
            f"{cell.method} with {cell.teacher_name} {int(cell.collapsed.sum())} of {len(cell.seeds)}"
            for cell, _ in broken[:8]
        ]
        rest = f" and {len(broken) - 8} more cells" if len(broken) > 8 else ""
        return [
            f"Collapsed or diverged: {'; '.join(parts)}{rest}. A diverged member has no FID; it counts with the worst"
            " FID of the comparison, so a mean that holds one is a lower bound (≥)."
        ]
    if not entries or settings.collapse_fid is None:  # without a threshold no member is known not to have collapsed
        return []
    n = min(len(cell.seeds) for cell, _ in entries)
    high = rate_interval(0, n)[1]
    return [
        f"{_count(n, 'try')} of a cell without a collapse still {'allows' if n == 1 else 'allow'} a collapse rate of up"
        f" to {percent(high)}, and no interval of a mean or std can see a collapse that did not happen."
    ]


def _needed(tries: Tries | None, family: Family | None, generator: np.random.Generator) -> dict[str, int | None]:
    """Seeds that would show the primary difference and spread in 80% of studies, if the truth is what was found."""
    if tries is None or family is None or not tries.paired or len(tries.seeds) < 3:
        return {}
    a, b = (worst_filled(tries.fid)[tries.methods.index(name)] for name in family.primary)
    model = fit_pair(a, b)
    found = {}
    for kind in ("mean", "spread"):
        one = _primary(family, kind)
        if one is not None:
            found[kind] = 0 if one.supported else seeds_needed(model, kind, generator)
    return found


def _needed_text(one: Hypothesis, family: Family | None, needed: dict[str, int | None]) -> str:
    if family is None or one.stage != f"primary {one.kind}" or one.kind not in needed:
        return ""
    seeds = needed[one.kind]
    if seeds is not None and seeds <= one.n:  # the model expects less than there is: luck decides, not the number
        return ""
    return f"; about {seeds} seeds would show it" if seeds else "; more seeds than can be simulated would be needed"


def _suggested(tries: Tries | None, needed: dict[str, int | None]) -> tuple[int, ...]:
    """The study's seeds and as many new ones as the primary comparison needs; empty where nothing is open."""
    if tries is None:
        return ()
    seeds = sorted(tries.seeds)
    missing = max([0, *(count for count in needed.values() if count)]) - len(seeds)
    return (*seeds, *range(seeds[-1] + 1, seeds[-1] + 1 + missing)) if missing > 0 else ()


def _count(number_of: int, noun: str) -> str:
    return (
        f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun[:-1] + 'ies' if noun == 'try' else noun + 's'}"
    )

"""Says in sentences what the tries of a study support, what they leave open, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.records.cells import Cell, methods_of, teachers_of
from analysis.results.sentences import (
    mean_text,
    seen_from,
    slope_text,
    spread_text,
    undecided_slope,
    undecided_texts,
    verdicts,
)
from analysis.statistics.comparisons import ALPHA, SIGN_FLIP_FROM, Comparison
from analysis.statistics.intervals import rate_interval
from analysis.statistics.power import (
    PairModel,
    SeedsNeeded,
    independent_pair,
    paired_pair,
    seeds_for_floor,
    seeds_needed,
)
from analysis.statistics.summary import Entry, mean
from analysis.statistics.trends import MIN_TEACHERS, SlopeDifference, Trend
from analysis.statistics.tries import shared_teachers, tries_of

MAX_SIMULATED = 10  # pairs whose power is simulated


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Sentences for the top of the report. `needed`: seeds a cell for the pairs (a, b) that are open, 0 where
    settled."""

    summary: str
    supported: tuple[str, ...]
    undecided: tuple[str, ...]
    notes: tuple[str, ...]
    needed: dict[tuple[str, str], SeedsNeeded]
    suggested_seeds: tuple[int, ...]  # what to give study.sweep as seeds=[...]; empty where more seeds do not help


def find(
    entries: Sequence[Entry],
    comparisons: Sequence[Comparison],
    trends: Sequence[Trend],
    slopes: Sequence[SlopeDifference],
    generator: np.random.Generator,
    *,
    paired: bool,
) -> Findings:
    """The findings of a report; `paired` as in comparisons.compare_all."""
    cells = [cell for cell, _ in entries]
    pairs = [one for one in comparisons if one.teacher is None]
    needed = _needed(cells, pairs, generator, paired=paired)
    supported = [text for one in pairs for text in (mean_text(one), spread_text(one)) if text]
    supported += [text for one in slopes if (text := slope_text(one))]
    undecided = [text for one in pairs for text in undecided_texts(one, needed.get((one.a, one.b)))]
    undecided += [text for one in slopes if (text := undecided_slope(one, trends))]
    return Findings(
        summary=_summary(cells, pairs),
        supported=tuple(supported),
        undecided=tuple(undecided),
        notes=tuple(_notes(entries, comparisons, paired=paired)),
        needed=needed,
        suggested_seeds=_suggested(cells, needed),
    )


def _summary(cells: Sequence[Cell], pairs: Sequence[Comparison]) -> str:
    if not cells:
        return "Only searched members so far. What they found must be confirmed on fresh seeds: protocol=tuned does."
    means = {method: _grand(cells, method) for method in methods_of(cells)}
    means = {method: value for method, value in means.items() if math.isfinite(value)}
    teachers = teachers_of(cells)
    seeds = sorted({len(cell.fid) for cell in cells})
    tries = f"{seeds[0]} tries" if seeds[0] == seeds[-1] else f"{seeds[0]} to {seeds[-1]} tries"
    tries = "1 try" if seeds == [1] else tries
    if not means:
        return f"No member of this study has a FID: all of {tries} a cell diverged."
    best = min(means, key=lambda method: means[method])
    over = f"Over {len(teachers)} teachers and" if len(teachers) > 1 else "With one teacher and" if teachers else "With"
    start = f"{over} {tries} a cell, {best} has the lowest mean FID ({means[best]:.1f})"
    rivals = [seen_from(best, one) for one in pairs if best in (one.a, one.b)]
    if not rivals:
        return start + "; there is no other method to compare it with."
    if not any(rival.p_mean <= ALPHA for rival in rivals):
        start += ", but no other method is shown to be worse"
    return f"{start}. Mean: {verdicts(rivals, 'mean')}. Spread: {verdicts(rivals, 'spread')}."


def _grand(cells: Sequence[Cell], method: str) -> float:
    """Mean over teachers of the cell means, where the method was tried with every teacher (or needs none)."""
    own = [cell for cell in cells if cell.method == method]
    if len({cell.teacher for cell in own} - {None}) < len(teachers_of(cells)) and own[0].teacher is not None:
        return float("nan")
    return mean(np.array([mean(cell.fid[~np.isnan(cell.fid)]) for cell in own]))


def _notes(entries: Sequence[Entry], comparisons: Sequence[Comparison], *, paired: bool) -> list[str]:
    notes = []
    single = [one for one in comparisons if one.teacher is not None and math.isfinite(one.floor_spread)]
    if single:
        lowest = min(single, key=lambda one: one.floor_spread)
        floor, n = lowest.floor_spread * len(single), min(lowest.n_a, lowest.n_b)
        if floor > ALPHA:
            kind = "No difference of spreads" if paired else "No comparison"
            notes.append(
                f"{kind} at a single teacher can be significant here: with {n} tries the smallest p of the exact "
                f"permutation test is {lowest.floor_spread:.4f} (1/126 for 5 against 5), and Holm's correction for "
                f"{len(single)} comparisons makes that {floor:.3f}. From {seeds_for_floor(len(single))} seeds a cell "
                "on it can."
            )
    num_pairs = max((one.num_pairs for one in comparisons), default=0)
    if paired and 0 < num_pairs < SIGN_FLIP_FROM:
        notes.append(
            f"The exact paired sign-flip test of {num_pairs} seeds cannot go below p = {2.0 ** (1 - num_pairs):g}, so "
            "it can never reach 5%. Means are compared by the paired t test instead, which trusts that differences are "
            "roughly normal; the unpaired exact permutation test stands beside it. "
            f"{SIGN_FLIP_FROM} seeds make the exact paired test possible."
        )
    if not paired:
        notes.append("The tries of different methods share no known seed, so they are compared as independent groups.")
    if len(teachers_of([cell for cell, _ in entries])) < MIN_TEACHERS:
        notes.append(f"A trend over the capacity gap needs at least {MIN_TEACHERS} teachers.")
    notes.append(
        "Where an interval and its test disagree, the report goes by the test: it holds its level when FIDs are "
        "heavy-tailed or some runs collapse, the interval of a std does not (see the appendix)."
    )
    return [*notes, *_collapse_notes(entries)]


def _collapse_notes(entries: Sequence[Entry]) -> list[str]:
    broken = [(cell, summary) for cell, summary in entries if cell.collapsed.any()]
    if broken:
        parts = [
            f"{cell.method} with {cell.teacher_name} {int(cell.collapsed.sum())} of {summary.n}"
            for cell, summary in broken[:8]
        ]
        rest = f" and {len(broken) - 8} more cells" if len(broken) > 8 else ""
        return [
            f"Collapsed or diverged: {'; '.join(parts)}{rest}. They count in n and in the collapse rate. "
            "Collapsed members have a FID and are in the means; diverged members have none, are in no mean and lose "
            "every comparison on a new seed."
        ]
    if not entries:
        return []
    n = min(summary.n for _, summary in entries)
    high = rate_interval(0, n)[1]
    return [
        f"No member is marked as collapsed, but {n} tries without a collapse still allow a collapse rate of up to "
        f"{high:.0%}, and no interval of a mean or std can see a collapse that did not happen."
    ]


def _needed(
    cells: Sequence[Cell], pairs: Sequence[Comparison], generator: np.random.Generator, *, paired: bool
) -> dict[tuple[str, str], SeedsNeeded]:
    undecided = [one for one in pairs if not (one.p_mean_holm <= ALPHA and one.p_spread_holm <= ALPHA)]
    found = {}
    for one in undecided[:MAX_SIMULATED]:
        pair = _pair_model(cells, one, paired=paired)
        if pair is None:
            continue
        level = ALPHA / len(pairs)
        seeds = {
            kind: 0 if p <= ALPHA else seeds_needed(pair, kind, generator, level=level, paired=paired)
            for kind, p in (("mean", one.p_mean_holm), ("spread", one.p_spread_holm))
        }
        found[one.a, one.b] = SeedsNeeded(**seeds)
    return found


def _pair_model(cells: Sequence[Cell], one: Comparison, *, paired: bool) -> PairModel | None:
    """The means and the covariances that were found, or where no seeds are shared the means and the stds."""
    teachers = shared_teachers(cells, one.a, one.b)
    a, b = tries_of(cells, one.a, teachers), tries_of(cells, one.b, teachers)
    if a is None or b is None:
        return None
    if paired:
        seeds = sorted(set(a.seeds) & set(b.seeds))
        both = [tries.fid[:, np.searchsorted(tries.seeds, seeds)] for tries in (a, b)]
        complete = ~np.isnan(np.concatenate(both)).any(axis=0)
        return paired_pair(both[0][:, complete], both[1][:, complete]) if complete.sum() > 1 else None
    known = [tries.fid[:, ~np.isnan(tries.fid).any(axis=0)] for tries in (a, b)]
    if min(fid.shape[1] for fid in known) < 2:
        return None
    means = known[0].mean(axis=1), known[1].mean(axis=1)
    return independent_pair(means, (known[0].std(axis=1, ddof=1), known[1].std(axis=1, ddof=1)))


def _suggested(cells: Sequence[Cell], needed: dict[tuple[str, str], SeedsNeeded]) -> tuple[int, ...]:
    """The study's seeds and as many new ones as settle half of what NUM_SEEDS can settle; empty where nothing is
    open."""
    seeds = sorted({int(seed) for cell in cells for seed in cell.seeds})
    wanted = sorted(n for one in needed.values() for n in (one.mean, one.spread) if n)
    missing = wanted[len(wanted) // 2] - len(seeds) if wanted else 0
    return (*seeds, *range(seeds[-1] + 1, seeds[-1] + 1 + missing)) if missing > 0 else ()

"""Which tries are compared: the same teachers and the same seeds for every estimate, interval, p and rank of a report.

A diverged member never helps its method. It counts as the worst finite FID of all compared data in means, as the
largest deviation of all compared data in spreads, and as infinite where only order matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.records.cells import NO_TEACHER, Cell, FloatArray, methods_of, teachers_of

ENOUGH = 0.5  # a method with fewer of the reference's seeds than this share is left out instead of shrinking the rest


@dataclass(frozen=True, kw_only=True)
class Tries:
    """FIDs of M methods at the same T teachers with the same n seeds; where tries are not paired, column i is try i.

    fid (M, T, n) is NaN where a member diverged, collapsed (M, T, n) true there too. gaps (T,): NaN where unknown.
    `num_left_out` counts seeds that a compared method has at these teachers but not every compared method.
    """

    methods: tuple[str, ...]
    teachers: tuple[str, ...]
    gaps: FloatArray
    seeds: tuple[int, ...]
    fid: FloatArray
    collapsed: npt.NDArray[np.bool_]
    num_left_out: int
    left_out: tuple[tuple[str, str], ...]  # method and why it is not compared
    paired: bool


def common_tries(cells: Sequence[Cell], *, reference: Sequence[str], paired: bool = True) -> Tries | None:
    """The tries that all compared methods have in common; None where the methods of `reference` share none.

    `reference` (the baseline and the primary pair) fixes the teachers. A further method that lacks one of them, or has
    fewer than half of the seeds that the reference has, is left out. A method without a teacher fits every teacher.
    """
    by_method = {name: {cell.teacher: cell for cell in cells if cell.method == name} for name in methods_of(cells)}
    known = [name for name in reference if name in by_method]
    if not known:
        return None
    teachers = _teachers(cells, [by_method[name] for name in known])
    seeds = {name: _seeds(row, teachers) for name, row in by_method.items()}
    base = set.intersection(*(seeds[name] for name in known))
    if not base:
        return None
    kept, left_out = _kept(by_method, seeds, known, base, teachers)
    common = sorted(set.intersection(*(seeds[name] for name in kept)))
    rows = [[_at(by_method[name], teacher) for teacher in teachers] for name in kept]
    columns = [[np.searchsorted(cell.seeds, common) for cell in row] for row in rows]
    pairs = [list(zip(*pair, strict=True)) for pair in zip(rows, columns, strict=True)]
    return Tries(
        methods=tuple(kept), teachers=tuple(teachers), seeds=tuple(common), left_out=tuple(left_out), paired=paired,
        gaps=np.array([_gap(cells, teacher) for teacher in teachers]),
        fid=np.array([[cell.fid[column] for cell, column in pair] for pair in pairs]),
        collapsed=np.array([[cell.collapsed[column] for cell, column in pair] for pair in pairs]),
        num_left_out=len(set.union(*(seeds[name] for name in kept)) - set(common)),
    )  # fmt: skip


def _kept(
    by_method: dict[str, dict[str | None, Cell]], seeds: dict[str, set[int]], known: Sequence[str], base: set[int],
    teachers: Sequence[str],
) -> tuple[list[str], list[tuple[str, str]]]:  # fmt: skip
    """The methods that are compared, and those that are left out with the reason."""
    kept, left_out = [], []
    for name, row in by_method.items():
        num = len(seeds[name] & base)
        if name in known or num >= max(ENOUGH * len(base), 1):
            kept.append(name)
        else:
            left_out.append((name, _reason(row, teachers, num, len(base))))
    if set.intersection(*(seeds[name] for name in kept)):
        return kept, left_out
    left_out += [(name, "shares no seed with all the others") for name in kept if name not in known]
    return [name for name in kept if name in known], left_out


def worst_filled(fid: FloatArray) -> FloatArray:
    """`fid` (...) with every FID that is not finite replaced by the largest finite one of the whole array.

    NaN throughout where no FID is finite.
    """
    finite = np.isfinite(fid)
    return np.where(finite, fid, fid[finite].max() if finite.any() else np.nan)


def deviations(fid: FloatArray) -> FloatArray:
    """Absolute deviations (..., n) of `fid` (..., n) from the median of its finite values over the last axis.

    A FID that is not finite deviates as much as the largest deviation of the whole array, or as the whole range of the
    finite FIDs where that is more: a method that always diverges is never called stable.
    """
    finite = np.isfinite(fid)
    if finite.all():
        return np.asarray(np.abs(fid - np.median(fid, axis=-1, keepdims=True)))
    if not finite.any():
        return np.ones_like(fid)
    median = np.median(worst_filled(fid), axis=-1, keepdims=True)
    for place in zip(*np.nonzero(finite.any(axis=-1)), strict=True):
        median[place] = np.median(fid[place][finite[place]])
    found = np.abs(np.where(finite, fid - median, 0.0))
    return np.where(finite, found, max(found.max(), np.ptp(fid[finite])))


def ranking(tries: Tries) -> list[int]:
    """The places of the methods by ascending mean FID over the common teachers and seeds (diverged: the worst FID)."""
    means = worst_filled(tries.fid).mean(axis=(1, 2))
    return sorted(range(len(means)), key=lambda place: (float(means[place]), tries.methods[place]))


def _teachers(cells: Sequence[Cell], rows: Sequence[dict[str | None, Cell]]) -> list[str]:
    """The teachers that every row has, by size; NO_TEACHER alone where no row has one."""
    if all(set(row) == {None} for row in rows):
        return [NO_TEACHER]
    return [name for name in teachers_of(cells) if all(name in row or None in row for row in rows)]


def _at(row: dict[str | None, Cell], teacher: str) -> Cell:
    return row[teacher] if teacher in row else row[None]


def _seeds(row: dict[str | None, Cell], teachers: Sequence[str]) -> set[int]:
    if not teachers or any(teacher not in row and None not in row for teacher in teachers):
        return set()
    return set.intersection(*(set(_at(row, teacher).seeds.tolist()) for teacher in teachers))


def _reason(row: dict[str | None, Cell], teachers: Sequence[str], num: int, of: int) -> str:
    missing = [teacher for teacher in teachers if teacher not in row and None not in row]
    if missing:
        return f"has no members at {', '.join(missing)}"
    return f"has {num} of the {of} seeds"


def _gap(cells: Sequence[Cell], teacher: str) -> float:
    gaps = [cell.capacity_gap for cell in cells if cell.teacher == teacher and cell.capacity_gap is not None]
    return float(gaps[0]) if gaps else float("nan")


def spread_scores(fid_a: FloatArray, fid_b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Absolute deviations of fid_a and fid_b (..., T, n) from their medians at each teacher.

    At every teacher they are divided by their mean over both methods, so that every teacher counts the same.
    """
    both = deviations(np.stack([fid_a, fid_b]))
    scale = np.concatenate(both, axis=-1).mean(axis=-1, keepdims=True)
    first, second = (part / np.where(scale > 0, scale, 1.0) for part in both)
    return first, second


def spread_ratio(scores_a: FloatArray, scores_b: FloatArray) -> float:
    """Mean score of a over that of b; 1 where neither varies, infinite where only a does."""
    first, second = float(scores_a.mean()), float(scores_b.mean())
    if second > 0:
        return first / second
    return float("inf") if first > 0 else 1.0

"""Which tries of two methods can be compared: the same teachers, the same seeds, and which pairs are shown."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.records.cells import Cell, FloatArray, methods_of, teachers_of
from analysis.statistics.summary import mean

MAX_METHODS = 10  # with more, every method is compared with the best only


@dataclass(frozen=True)
class Tries:
    """FIDs (T, n) of one method at the same T teachers; only seeds that are finished at all of them. NaN: diverged."""

    fid: FloatArray
    collapsed: FloatArray
    seeds: tuple[int, ...]


def tries_of(cells: Sequence[Cell], method: str, teachers: Sequence[str]) -> Tries | None:
    """The tries of `method` at `teachers`; a method without a teacher has the same tries at each. None where it has
    none."""
    by_teacher = {cell.teacher: cell for cell in cells if cell.method == method}
    row = [by_teacher.get(teacher, by_teacher.get(None)) for teacher in teachers]
    if not row or any(cell is None for cell in row):
        return None
    found = [cell for cell in row if cell is not None]
    seeds = sorted(set.intersection(*(set(cell.seeds.tolist()) for cell in found)))
    if any(len(set(cell.seeds.tolist())) != len(cell.seeds) for cell in found) or not seeds:
        return None
    columns = [np.searchsorted(cell.seeds, seeds) for cell in found]
    fid = np.stack([cell.fid[column] for cell, column in zip(found, columns, strict=True)])
    collapsed = np.stack([cell.collapsed[column] for cell, column in zip(found, columns, strict=True)])
    return Tries(fid, collapsed.astype(np.float64), tuple(seeds))


def shared_teachers(cells: Sequence[Cell], a: str, b: str) -> list[str]:
    """The teachers at which both methods were tried (a method without a teacher fits every one), by size."""
    by_method = [{cell.teacher for cell in cells if cell.method == method} for method in (a, b)]
    return [name for name in teachers_of(cells) if all(name in names or None in names for names in by_method)]


def pairs_of(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """All pairs of up to MAX_METHODS methods; of more, the best by mean FID against each of the others."""
    methods = methods_of(cells)
    if len(methods) <= MAX_METHODS:
        return list(itertools.combinations(methods, 2))
    best = best_methods(cells)[0]
    return [(best, method) for method in methods if method != best]


def best_methods(cells: Sequence[Cell]) -> list[str]:
    """The methods by ascending mean FID over all their tries."""
    fids = {method: [cell.fid for cell in cells if cell.method == method] for method in methods_of(cells)}
    means = {method: mean(known[~np.isnan(known)]) for method, known in _joined(fids).items()}
    return sorted(means, key=lambda method: (np.isnan(means[method]), means[method], method))


def _joined(fids: dict[str, list[FloatArray]]) -> dict[str, FloatArray]:
    return {method: np.concatenate(parts) for method, parts in fids.items()}

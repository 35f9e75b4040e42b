"""What a study's numbers hang on: single seeds, single teachers, methods that do nothing, what a std is made of."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.records.cells import Cell, FloatArray
from analysis.results.text import number, signed
from analysis.statistics.common_seeds import Tries
from analysis.statistics.components import Components, components
from analysis.statistics.diagnostics import (
    alike,
    carrying_seed,
    leave_one_seed_out,
    leave_one_teacher_out,
    worse_teachers,
)
from analysis.statistics.family import Family

OWN_FEATURES = "own-"  # begins the names of extractors that a study trains itself
_SEED = re.compile(r" \(seed \d+\)\Z")


def diagnose(
    cells: Sequence[Cell], tries: Tries | None, family: Family | None, collapse_fid: float | None
) -> list[str]:
    """Sentences, the ones that a reader must know first."""
    own = _own_features(cells)
    if tries is None:
        return own
    once = _once(cells, tries)
    found = [
        *own,
        *_alike(tries),
        *_collapses(tries, once),
        *_threshold(tries, once, collapse_fid),
        *_teachers(cells, tries),
    ]
    return [*found, *(_without(tries, family) if family is not None else [])]


def _own_features(cells: Sequence[Cell]) -> list[str]:
    names = {str(cell.member.get("evaluation.feature_extractor")) for cell in cells}
    return [
        f"FIDs are in the features of {name}, a network that the study trained on its own images: they compare within"
        " one study alone, not with another one (even of the same images) and not with any published FID."
        for name in sorted(names)
        if name.startswith(OWN_FEATURES)
    ]


def component_rows(cells: Sequence[Cell]) -> list[tuple[str, Components]]:
    """What the variance is made of, by method and architecture of the teacher, where noise seeds or teachers repeat.

    Trainings of one architecture are the groups; the label is `method, teacher`.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.method, _SEED.sub("", cell.teacher_name)), []).append(cell)
    found = []
    for (method, teacher), own in groups.items():
        seeds = sorted(set.intersection(*(set(cell.seeds.tolist()) for cell in own)))
        width = min(cell.fid_by_noise_seed.shape[1] for cell in own)
        if len(seeds) < 2 or (width < 2 and len(own) < 2):
            continue
        values = np.stack([cell.fid_by_noise_seed[np.isin(cell.seeds, seeds), :width] for cell in own])
        parts = components(values)
        if parts is not None:
            found.append((f"{method}, {teacher}", parts))
    return found


def _alike(tries: Tries) -> list[str]:
    groups: list[set[int]] = []
    for a, b, _ in alike(tries.fid):
        known = next((group for group in groups if {a, b} & group), None)
        groups.append({a, b}) if known is None else known.update((a, b))
    return [
        f"{_listed([tries.methods[place] for place in sorted(group)])} are the same here: every try of one has the FID"
        " of the others. What tells them apart in name does nothing in this study."
        for group in groups
    ]


def _once(cells: Sequence[Cell], tries: Tries) -> npt.NDArray[np.bool_]:
    """(M, T, n): each try once; those of a method without a teacher are repeated at every teacher."""
    guided = {cell.method for cell in cells if cell.teacher is not None}
    once = np.ones(tries.fid.shape, dtype=np.bool_)
    for place, method in enumerate(tries.methods):
        if method not in guided:
            once[place, 1:] = False
    return once


def _collapses(tries: Tries, once: npt.NDArray[np.bool_]) -> list[str]:
    found = carrying_seed(tries.collapsed & once, tries.seeds) if tries.paired else None
    if found is None or found[2] < 3 or len(tries.seeds) < 3:
        return []
    seed, hits, total = found
    share = f"all {total}" if hits == total else f"{hits} of {total}"
    return [f"{share[0].upper()}{share[1:]} collapses are seed {seed}: they are one event, not {hits}."]


def _threshold(tries: Tries, once: npt.NDArray[np.bool_], collapse_fid: float | None) -> list[str]:
    """How the number of collapses depends on the threshold."""
    fid = tries.fid[once]
    lost, total = int(np.isnan(fid).sum()), fid.size
    if collapse_fid is None:
        known = f", {lost} diverged" if lost else ""
        return [f"No threshold of collapse was applied (report.collapse_fid){known}; the curve P(FID > x) needs none."]
    counts = {
        factor * collapse_fid: int((fid > factor * collapse_fid).sum()) + lost for factor in (0.5, 0.75, 1.0, 1.5)
    }
    listed = ", ".join(f"{count} above {threshold:g}" for threshold, count in counts.items())
    return [
        f"Collapse means a FID above {collapse_fid:g} (report.collapse_fid) or none. Of {total} tries, counting"
        f" {lost} that diverged: {listed}."
    ]


def _teachers(cells: Sequence[Cell], tries: Tries) -> list[str]:
    known = {cell.teacher: cell.teacher_fid for cell in cells if cell.teacher is not None}
    fid = np.array([np.nan if known.get(name) is None else known[name] for name in tries.teachers], dtype=np.float64)
    if np.isnan(fid).all():
        return []
    guided = {cell.method for cell in cells if cell.teacher is not None}
    found = [(t, i, value) for t, i, value in worse_teachers(fid, tries.fid) if tries.methods[i] in guided]
    texts = []
    for place in sorted({t for t, _, _ in found}):
        students = [f"{tries.methods[i]} {number(value, 1)}" for t, i, value in found if t == place]
        texts.append(
            f"The teacher {tries.teachers[place]} (FID {number(float(fid[place]), 1)}) is worse than its students:"
            f" {_listed(students[:4])}{f' and {len(students) - 4} more' if len(students) > 4 else ''}. Nothing better"
            " can be learned from its outputs than it gives."
        )
    return texts


def _without(tries: Tries, family: Family) -> list[str]:
    """How the primary difference of means changes when a seed or a teacher is left out."""
    a, b = (tries.fid[tries.methods.index(name)] for name in family.primary)
    whole = float(np.nanmean(a) - np.nanmean(b))
    texts = []
    start = f"{family.primary[0]} against {family.primary[1]} ({signed(whole)} points): "
    if tries.paired and len(tries.seeds) > 2:
        left = leave_one_seed_out(a, b)
        texts.append(start + _range("seed", [f"seed {seed}" for seed in tries.seeds], left, whole))
    if len(tries.teachers) > 1:
        left = leave_one_teacher_out(a, b)
        texts.append(start + _range("teacher", list(tries.teachers), left, whole))
    return texts


def _range(kind: str, names: Sequence[str], left: FloatArray, whole: float) -> str:
    most = int(np.nanargmax(np.abs(left - whole)))
    text = (
        f"without one {kind} it is {signed(float(np.nanmin(left)))} to {signed(float(np.nanmax(left)))} points;"
        f" {names[most]} carries most, without it {signed(float(left[most]))}."
    )
    return text if np.all(left * whole > 0) else f"{text} Its sign rests on one {kind}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

"""Groups the rows of a study into cells: everything that makes a member but its seed.

Two rows share a cell when their `member` (the JSON that run_id hashes) differs in nothing but the seed. Labels show
exactly the settings in which the cells of a method differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.records.rows import outcome

FloatArray = npt.NDArray[np.float64]
_COLUMNS = [
    *("run_id", "phase", "status", "member", "teacher", "teacher_id", "teacher_seed", "teacher_params"),
    *("teacher_macs", "teacher_fid", "student_params", "student_macs", "capacity_gap", "method", "seed"),
    *("fid", "kid", "precision_", "recall", "fid_by_noise_seed", "student_teacher_distance", "device_seconds"),
]
_SHORT = {"group_size": "K", "batch_size": "batch", "coarse_norm": "norm"}
_BY_TEACHER = ("assistant", "student.pruned_from")  # ids of models that are made anew from each teacher
_NOT_SETTINGS = ("seed", "teacher", "method.name")
NO_TEACHER = "no teacher"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The finished members that differ in their seed only. Arrays: one element a member, by ascending seed.

    `fid` is NaN where a member diverged (it has no FID); `collapsed` is true for members whose FID is above the
    report's threshold and for diverged ones. `teacher` and the numbers of the teacher are None for a method that has no
    teacher.
    """

    phase: str
    teacher: str | None
    teacher_id: str | None
    teacher_seed: int | None
    teacher_params: int | None
    teacher_macs: int | None
    teacher_fid: float | None
    capacity_gap: float | None
    student_params: int
    student_macs: int
    method: str  # the label: the method's name, with the settings that tell its variants apart
    name: str  # the method's name alone
    member: Mapping[str, Any]  # what makes a member, by dotted key, e.g. train.lr; without the seed
    run_ids: tuple[str, ...]
    seeds: npt.NDArray[np.int64]
    fid: FloatArray
    fid_by_noise_seed: FloatArray  # (n, noise seeds) FIDs of the same student; one column where there is one
    kid: FloatArray  # NaN where it was not measured, as are the next four
    precision: FloatArray
    recall: FloatArray
    distance: FloatArray  # student-teacher output distance
    device_seconds: FloatArray
    collapsed: npt.NDArray[np.bool_]
    diverged: npt.NDArray[np.bool_]

    @property
    def teacher_name(self) -> str:
        return NO_TEACHER if self.teacher is None else self.teacher


def group_cells(runs: pa.Table, *, study: str | None = None, collapse_fid: float | None = None) -> list[Cell]:
    """The cells of the rows `runs` (RUN_SCHEMA), by ascending teacher size and then method; no row is left out.

    `study`, when given, is put before every method's label, so that cells of several studies can stand side by side.
    A member with a FID above `collapse_fid` has collapsed; None: no threshold. Raises ValueError where a seed is twice
    in a cell.
    """
    rows = runs.select(_COLUMNS).to_pydict()
    groups: dict[tuple[str, str], list[int]] = {}
    for index, (phase, text) in enumerate(zip(rows["phase"], rows["member"], strict=True)):
        member = json.loads(text)
        member.pop("seed", None)
        groups.setdefault((phase, json.dumps(member, sort_keys=True)), []).append(index)
    kinds = [Kind.of(phase, rows["method"][indices[0]], json.loads(text)) for (phase, text), indices in groups.items()]
    known = zip(rows["teacher"], rows["teacher_seed"], strict=True)
    teachers = teacher_labels(dict(zip(rows["teacher_id"], known, strict=True)))
    prefix = f"{study}: " if study else ""
    cells = [
        _cell(rows, indices, kind, method=prefix + label, teachers=teachers, collapse_fid=collapse_fid)
        for indices, kind, label in zip(groups.values(), kinds, labels(kinds), strict=True)
    ]
    return sorted(cells, key=_order)


@dataclass(frozen=True)
class Kind:
    """What the members of a cell have in common: phase, the method's name, and the flat member without its seed."""

    phase: str
    name: str
    member: Mapping[str, Any]

    @classmethod
    def of(cls, phase: str, name: str, member: Mapping[str, Any]) -> Kind:
        return cls(phase, name, {key: value for key, value in flat(member) if key != "seed"})

    @property
    def teacher_id(self) -> Any:
        return self.member.get("teacher")


def labels(kinds: Sequence[Kind]) -> list[str]:
    """A label for each kind: the method's name, then the settings in which the kinds of that method differ.

    Tuned settings (phase confirm) are called so and differ from teacher to teacher: they are only told apart where one
    teacher has several, as are the ids of students and assistants that are made from each teacher.
    """
    anywhere = _varying(kinds, lambda kind: (kind.phase == "confirm", kind.name))
    at_teacher = _varying(kinds, lambda kind: (kind.phase == "confirm", kind.name, kind.teacher_id))
    found = []
    for kind in kinds:
        tuned = kind.phase == "confirm"
        own = at_teacher[tuned, kind.name, kind.teacher_id]
        shown = own if tuned else sorted({*own, *(anywhere[tuned, kind.name] - {*_BY_TEACHER})})
        texts = [_setting_text(key, kind.member.get(key)) for key in sorted(shown)]
        found.append(" ".join([kind.name, *(["(tuned)"] if tuned else []), *texts]))
    return found


def flat(value: Any, key: str = "") -> Iterable[tuple[str, Any]]:
    """The values of nested mappings by dotted key; anything else, lists too, is one value."""
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, item in value.items():
        yield from flat(item, f"{key}.{name}" if key else str(name))


def methods_of(cells: Sequence[Cell]) -> list[str]:
    """The labels of the methods, those without a teacher first, then by name."""
    return sorted({cell.method for cell in cells}, key=lambda name: (not _without_teacher(cells, name), name))


def teachers_of(cells: Sequence[Cell]) -> list[str]:
    """The names of the teachers by ascending size."""
    sizes = {cell.teacher: cell.teacher_params or 0 for cell in cells if cell.teacher is not None}
    return sorted(sizes, key=lambda name: (sizes[name], name))


def _without_teacher(cells: Sequence[Cell], method: str) -> bool:
    return all(cell.teacher is None for cell in cells if cell.method == method)


def _order(cell: Cell) -> tuple[Any, ...]:
    return (cell.teacher is not None, cell.teacher_params or 0, cell.teacher or "", cell.method, cell.phase)


def _varying(kinds: Sequence[Kind], alike: Any) -> dict[tuple[Any, ...], set[str]]:
    """The keys in which kinds differ, for every group of kinds that have the same `alike`."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for kind in kinds:
        groups.setdefault(alike(kind), []).append(kind.member)
    found = {}
    for group, members in groups.items():
        keys = {key for member in members for key in member} - {*_NOT_SETTINGS}
        found[group] = {key for key in keys if len({json.dumps(one.get(key)) for one in members}) > 1}
    return found


def teacher_labels(known: Mapping[str | None, tuple[str | None, int | None]]) -> dict[str | None, str | None]:
    """Name by id of the teachers `known` (id to name and seed).

    With its seed, or else the start of its id, where several teachers bear one name.
    """
    found: dict[str | None, str | None] = {}
    for tag, (name, seed) in known.items():
        namesakes = [other for other, (label, _) in known.items() if label == name]
        seeds = {known[other][1] for other in namesakes} - {None}
        if name is None or len(namesakes) == 1:
            found[tag] = name
        else:
            found[tag] = f"{name} (seed {seed})" if len(seeds) == len(namesakes) else f"{name} ({str(tag)[:8]})"
    return found


def _setting_text(key: str, value: Any) -> str:
    name = key.split(".", 1)[1] if key.startswith(("method.", "train.")) else key
    text = f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
    return f"{_SHORT.get(name, name)}={text}"


def _cell(
    rows: dict[str, list[Any]], indices: list[int], kind: Kind, *, method: str,
    teachers: dict[str | None, str | None], collapse_fid: float | None,
) -> Cell:  # fmt: skip
    indices = sorted(indices, key=lambda index: rows["seed"][index])
    first = indices[0]
    teacher = teachers[rows["teacher_id"][first]]
    for one, other in pairwise(indices):
        if rows["seed"][one] == rows["seed"][other]:
            raise ValueError(
                f"seed {rows['seed'][one]} is twice in the cell of {method}, {teacher or NO_TEACHER}:"
                f" run_ids {rows['run_id'][one]} and {rows['run_id'][other]}"
            )
    state = [outcome(rows["status"][index], rows["fid"][index], collapse_fid) for index in indices]
    names = ("teacher_id", "teacher_seed", "teacher_params", "teacher_macs", "teacher_fid", "capacity_gap")
    return Cell(
        phase=kind.phase,
        teacher=teacher,
        **{name: rows[name][first] for name in (*names, "student_params", "student_macs")},
        method=method,
        name=kind.name,
        member=kind.member,
        run_ids=tuple(rows["run_id"][index] for index in indices),
        seeds=np.array([rows["seed"][index] for index in indices], dtype=np.int64),
        fid=_floats(rows["fid"], indices),
        fid_by_noise_seed=_by_noise_seed(rows, indices),
        kid=_floats(rows["kid"], indices),
        precision=_floats(rows["precision_"], indices),
        recall=_floats(rows["recall"], indices),
        distance=_floats(rows["student_teacher_distance"], indices),
        device_seconds=_floats(rows["device_seconds"], indices),
        collapsed=np.array([value != "ok" for value in state], dtype=np.bool_),
        diverged=np.array([value == "diverged" for value in state], dtype=np.bool_),
    )


def _floats(column: list[float | None], indices: Sequence[int]) -> FloatArray:
    found = np.array([np.nan if column[index] is None else column[index] for index in indices], dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def _by_noise_seed(rows: dict[str, list[Any]], indices: Sequence[int]) -> FloatArray:
    found = [rows["fid_by_noise_seed"][index] for index in indices]
    width = max([1, *(len(values) for values in found if values)])
    lines = [
        (values or [rows["fid"][index]]) + [None] * (width - len(values or [0]))
        for index, values in zip(indices, found, strict=True)
    ]
    return np.array([[np.nan if value is None else value for value in line] for line in lines], dtype=np.float64)

"""Groups the rows of a study into cells: one teacher, one method with its settings, many seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FloatArray = npt.NDArray[np.float64]

# Rows that differ in one of these are different variants of a method, and never share a cell.
SETTINGS = (
    *("data", "student", "output", "feature", "group_size", "coarse_norm", "gate", "reduction"),
    *("lambda_diff", "lambda_out", "lambda_feat"),
    *("steps", "batch_size", "optimiser", "lr", "ema_decay", "precision"),
)
_COLUMNS = [
    *("run_id", "phase", "status", "teacher", "teacher_id", "teacher_params", "teacher_macs", "teacher_fid"),
    *("student_params", "student_macs", "capacity_gap", "method", *SETTINGS),
    *("seed", "fid", "student_teacher_distance", "device_seconds"),
]
_SHORT = {"group_size": "K", "batch_size": "batch", "coarse_norm": "norm"}
NO_TEACHER = "no teacher"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The finished members of one teacher and one method with fixed settings. Arrays: one element a member, by seed.

    `fid` is NaN where a member diverged (it has no FID); `collapsed` is true for collapsed and diverged members.
    `teacher` and the numbers of the teacher are None for a method that has no teacher.
    """

    phase: str
    teacher: str | None
    teacher_params: int | None
    teacher_macs: int | None
    teacher_fid: float | None
    capacity_gap: float | None
    student_params: int
    student_macs: int
    method: str  # the label: the method's name, with the settings that tell its variants apart
    settings: tuple[tuple[str, Any], ...]
    run_ids: tuple[str, ...]
    seeds: npt.NDArray[np.int64]
    fid: FloatArray
    collapsed: npt.NDArray[np.bool_]
    diverged: npt.NDArray[np.bool_]
    distance: FloatArray  # student-teacher output distance, NaN where it was not measured
    device_seconds: FloatArray  # NaN where it was not measured

    @property
    def teacher_name(self) -> str:
        return NO_TEACHER if self.teacher is None else self.teacher


def group_cells(runs: pa.Table, *, study: str | None = None) -> list[Cell]:
    """The cells of the rows `runs` (RUN_SCHEMA), by ascending teacher size and then method; no row is left out.

    `study`, when given, is put before every method's label, so that cells of several studies can stand side by side.
    """
    rows = runs.select(_COLUMNS).to_pydict()
    groups: dict[tuple[Any, ...], list[int]] = {}
    keys = ["phase", "teacher", "teacher_id", "teacher_params", "student_params", "method", *SETTINGS]
    for index, key in enumerate(zip(*(rows[name] for name in keys), strict=True)):
        groups.setdefault(key, []).append(index)
    cells = []
    teachers = _teacher_labels(rows)
    for key, label in zip(groups, _labels(keys, list(groups)), strict=True):
        prefix = f"{study}: " if study else ""
        cells.append(_cell(rows, groups[key], method=prefix + label, teachers=teachers))
    return sorted(cells, key=_order)


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


def _teacher_labels(rows: dict[str, list[Any]]) -> dict[tuple[Any, Any], str | None]:
    """Teacher's name by (name, id): with the start of its id where two teachers bear one name."""
    pairs = set(zip(rows["teacher"], rows["teacher_id"], strict=True))
    names = [name for name, _ in pairs]
    return {(name, tag): name if names.count(name) == 1 or name is None else f"{name} ({tag})" for name, tag in pairs}


def _labels(keys: Sequence[str], groups: Sequence[tuple[Any, ...]]) -> list[str]:
    """A label per group: the method's name, then the settings in which the groups of that method differ.

    Tuned settings (phase confirm) are called so and differ from teacher to teacher: they are only told apart where one
    teacher has several.
    """
    settings = [dict(zip(keys, group, strict=True)) for group in groups]
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in settings:
        alike.setdefault(_alike(row), []).append(row)
    varying = {
        key: [name for name in SETTINGS if len({variant[name] for variant in variants}) > 1]
        for key, variants in alike.items()
    }
    return [
        " ".join(
            [
                row["method"],
                *(["(tuned)"] if row["phase"] == "confirm" else []),
                *(_setting_text(name, row[name]) for name in varying[_alike(row)]),
            ]
        )
        for row in settings
    ]


def _alike(row: dict[str, Any]) -> tuple[Any, ...]:
    """Groups that agree in this are told apart by the settings in which they differ."""
    tuned = row["phase"] == "confirm"
    return row["method"], row["phase"], (row["teacher"], row["teacher_id"]) if tuned else None


def _setting_text(key: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{_SHORT.get(key, key)}={text}"


def _cell(
    rows: dict[str, list[Any]], indices: list[int], *, method: str, teachers: dict[tuple[Any, Any], str | None]
) -> Cell:
    indices = sorted(indices, key=lambda index: (rows["seed"][index], rows["run_id"][index]))
    first = indices[0]
    status = [rows["status"][index] for index in indices]
    return Cell(
        phase=rows["phase"][first],
        teacher=teachers[rows["teacher"][first], rows["teacher_id"][first]],
        teacher_params=rows["teacher_params"][first],
        teacher_macs=rows["teacher_macs"][first],
        teacher_fid=rows["teacher_fid"][first],
        capacity_gap=rows["capacity_gap"][first],
        student_params=rows["student_params"][first],
        student_macs=rows["student_macs"][first],
        method=method,
        settings=(("method", rows["method"][first]), *((key, rows[key][first]) for key in SETTINGS)),
        run_ids=tuple(rows["run_id"][index] for index in indices),
        seeds=np.array([rows["seed"][index] for index in indices], dtype=np.int64),
        fid=_floats(rows["fid"], indices),
        collapsed=np.array([value in ("collapsed", "diverged") for value in status], dtype=np.bool_),
        diverged=np.array([value == "diverged" for value in status], dtype=np.bool_),
        distance=_floats(rows["student_teacher_distance"], indices),
        device_seconds=_floats(rows["device_seconds"], indices),
    )


def _floats(column: list[float | None], indices: Sequence[int]) -> FloatArray:
    return np.array([np.nan if column[index] is None else column[index] for index in indices], dtype=np.float64)

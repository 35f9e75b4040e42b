"""Grids of images and error maps that the evaluation wrote beside the records."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.figures.errors import ErrorMaps, read_error_maps
from analysis.records.cells import Cell, teachers_of
from analysis.records.real_images import RealImages

MAX_PICTURE_BYTES = 2_500_000  # of all grids of a study together
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A grid of images: `name` and `detail` say of what; `fid` is NaN where there is none; `source` is a data URI."""

    name: str
    detail: str
    fid: float
    source: str


def sample_pictures(cells: Sequence[Cell], study_dir: Path, real: RealImages | None) -> tuple[list[Picture], int]:
    """The grids that are there, and how many were left out for size: real images, then for every teacher its own and
    those of its cells, each of the lowest seed that has one.
    """
    found, left_out, size = [], 0, 0
    for path, name, detail, fid in _grids(cells, study_dir, real):
        content = path.read_bytes()
        size += len(content) * 4 // 3
        if not content.startswith(_PNG) or size > MAX_PICTURE_BYTES:
            left_out += 1
            continue
        source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
        found.append(Picture(name, detail, math.nan if fid is None else fid, source))
    return found, left_out


def _grids(
    cells: Sequence[Cell], study_dir: Path, real: RealImages | None
) -> Iterator[tuple[Path, str, str, float | None]]:
    """Path, name, detail and FID of every grid."""
    if real is not None and real.picture.exists():
        yield real.picture, "real images", "one half against the other", real.half_against_half_fid
    present, teachers = run_ids_with(study_dir / "samples", ".png"), set()
    for cell in cells:
        if cell.teacher_id is not None and cell.teacher_id not in teachers:
            teachers.add(cell.teacher_id)
            path = study_dir / "teachers" / cell.teacher_id / "samples.png"
            if path.exists():
                yield path, "teacher", cell.teacher_name, cell.teacher_fid
        for run_id, seed, fid in zip(cell.run_ids, cell.seeds, cell.fid, strict=True):
            if run_id in present:
                path = study_dir / "samples" / f"{run_id}.png"
                yield path, cell.method, f"{cell.teacher_name}, seed {seed}", float(fid)
                break


def error_maps(cells: Sequence[Cell], study_dir: Path) -> dict[str, ErrorMaps]:
    """By method: the error maps of its lowest seed at the largest teacher that has any. Empty where there are none."""
    present = run_ids_with(study_dir / "samples", ".npz")
    for teacher in reversed(teachers_of(cells)):
        maps = {}
        for cell in cells:
            if cell.teacher != teacher:
                continue
            first = next((run_id for run_id in cell.run_ids if run_id in present), None)
            if first is not None:
                maps[cell.method] = read_error_maps(study_dir / "samples" / f"{first}.npz")
        if maps:
            return maps
    return {}


def run_ids_with(folder: Path, suffix: str) -> set[str]:
    """The run_ids that have a file with this suffix in `folder`; none where there is no such folder."""
    return {path.stem for path in folder.glob(f"*{suffix}")}

"""Sample grids and error maps that the evaluation wrote beside the records."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.figures.errors import ErrorMaps, read_error_maps
from analysis.records.cells import Cell, teachers_of

MAX_PICTURE_BYTES = 2_500_000  # of all sample grids of a page together
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """One member's sample grid; `source` is a data URI."""

    method: str
    teacher: str
    seed: int
    source: str


def sample_pictures(cells: Sequence[Cell], study_dir: Path) -> tuple[list[Picture], int]:
    """The sample grid of the lowest seed of every cell that has one, and how many were left out for size."""
    found, left_out, size = [], 0, 0
    present = run_ids_with(study_dir / "samples", ".png")
    for cell in cells:
        for run_id, seed in zip(cell.run_ids, cell.seeds, strict=True):
            if run_id not in present:
                continue
            content = (study_dir / "samples" / f"{run_id}.png").read_bytes()
            size += len(content) * 4 // 3
            if not content.startswith(_PNG) or size > MAX_PICTURE_BYTES:
                left_out += 1
                break
            source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
            found.append(Picture(cell.method, cell.teacher_name, int(seed), source))
            break
    return found, left_out


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

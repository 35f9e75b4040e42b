"""What the evaluation kept of the real images that FIDs are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.records.cells import flat
from storage import read_sealed

_FID, _NUM = "half_against_half_fid", "images_of_a_half"


@dataclass(frozen=True)
class RealImages:
    """The FID between two disjoint halves of the real images; None where it does not exist. `picture` is a PNG."""

    half_against_half_fid: float | None
    images_of_a_half: int
    picture: Path


def read_real_images(study_dir: Path, member: Mapping[str, Any]) -> RealImages | None:
    """Those of the member's data and evaluation (flat, by dotted key); None where the study kept none.

    Raises ValueError naming a file that is damaged.
    """
    for path in sorted((study_dir / "reference").glob("*.json")):
        facts = read_sealed(path.name, path)
        key = {name: value for name, value in facts.items() if name not in (_FID, _NUM)}
        if all(member.get(name) == value for name, value in flat(key)):
            return RealImages(facts[_FID], facts[_NUM], path.with_suffix(".png"))
    return None

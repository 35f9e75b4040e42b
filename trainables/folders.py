"""Where workers keep teachers, students and reference features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """Where teachers, students (and what they start from, where it is not drawn) and reference features are kept."""

    teachers: Path
    initial: Path
    students: Path
    reference: Path

"""What finished members came to, read from the records: all that a search learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.records import read_runs


@dataclass(frozen=True)
class Outcome:
    """One row, as a search sees it."""

    fid: float  # infinite for a member that diverged
    steps: int  # taken: fewer than its budget for a member that was stopped early
    device_seconds: float


Outcomes = Mapping[str, Outcome]  # by run_id


def read_outcomes(study_dir: Path) -> dict[str, Outcome]:
    """The outcomes of all finished members of the study."""
    columns = ["run_id", "fid", "steps", "device_seconds"]
    rows = read_runs(study_dir).select(columns).to_pylist()
    return {row["run_id"]: Outcome(_fid(row["fid"]), row["steps"], row["device_seconds"] or 0.0) for row in rows}


def _fid(fid: float | None) -> float:
    return math.inf if fid is None or math.isnan(fid) else fid

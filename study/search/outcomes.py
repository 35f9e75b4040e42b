"""What finished members came to, read from the records: all that a search learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from analysis.records.rows import read_curve, read_runs


@dataclass(frozen=True)
class Outcome:
    """One row, as a search sees it."""

    fid: float  # infinite for a member that diverged
    steps: int  # taken: fewer than its budget for a member that was stopped early
    device_seconds: float
    rung_fids: Mapping[int, float] = field(default_factory=dict)  # measured on the way, by steps taken


Outcomes = Mapping[str, Outcome]  # by run_id


def read_outcomes(study_dir: Path, *, with_rungs: bool = False) -> dict[str, Outcome]:
    """The outcomes of all finished members of the study; with_rungs reads the curves of search members too."""
    columns = ["run_id", "phase", "fid", "steps", "device_seconds"]
    outcomes = {}
    for row in read_runs(study_dir).select(columns).to_pylist():
        rungs = _rung_fids(study_dir, row["run_id"]) if with_rungs and row["phase"] == "search" else {}
        outcomes[row["run_id"]] = Outcome(_fid(row["fid"]), row["steps"], row["device_seconds"] or 0.0, rungs)
    return outcomes


def _rung_fids(study_dir: Path, run_id: str) -> dict[int, float]:
    curve = read_curve(study_dir, run_id).select(["step", "fid"]).to_pylist()
    return {point["step"]: _fid(point["fid"]) for point in curve if point["fid"] is not None}


def _fid(fid: float | None) -> float:
    return math.inf if fid is None or math.isnan(fid) else fid

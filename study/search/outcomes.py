"""What finished members came to, read from the records: all that a search learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

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


def objectives(fids: Sequence[float], score: str, std_weight: float) -> tuple[float, ...]:
    """What Optuna minimises for a trial whose members have these FIDs (one a search seed).

    mean; mean + std_weight * std (ddof 1); worst; or, for pareto, (mean, std). A collapsed member counts with its FID;
    one that diverged, or whose FID is not a number, counts as infinitely bad, and so does its trial.
    """
    values = np.array([math.inf if math.isnan(fid) else fid for fid in fids], dtype=np.float64)
    if not np.isfinite(values).all():
        return (math.inf, math.inf) if score == "pareto" else (math.inf,)
    mean = float(values.mean())
    std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if score == "pareto":
        return mean, std
    return ({"mean": mean, "mean_std": mean + std_weight * std, "worst": float(values.max())}[score],)


def scalar_score(fids: Sequence[float], score: str, std_weight: float) -> float:
    """One number to choose by, lower is better: the objective; for pareto mean + std_weight * std."""
    return objectives(fids, "mean_std" if score == "pareto" else score, std_weight)[0]

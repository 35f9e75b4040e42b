"""A trial that trains nothing: it writes the rows of its packs, as workers do when their members are finished.

Light to import, like study/execution/trial.py: many of its processes run at once on one machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from analysis.records.parquet import read_table
from analysis.records.rows import write_run
from study.watching.progress import ProgressFiles

if TYPE_CHECKING:
    from study.execution.launch import Launch


@dataclass(frozen=True)
class TrivialJob:
    """What the trials share, in place of a trainables.ray_train.PackJob."""

    study_dir: Path
    rows: Path  # a Parquet file for every trial, by its name, with the rows of the members of its packs
    packs: Mapping[str, Sequence[str]]  # pack_ids, by the trial's name
    curves: Mapping[str, Sequence[Mapping[str, Any]]]  # by method
    progress: ProgressFiles


def write_trivial_packs(config: dict[str, Any], launch: Launch) -> dict[str, Any]:
    """In place of study.execution.trial.run_trial."""
    job: TrivialJob = ray.get(launch.job)
    name = config["trial"].name
    for pack_id in job.packs[name]:
        job.progress(pack_id, 0, ())
        launch.log("pack_started", pack_id=pack_id)
    for row in read_table(job.rows / f"{name}.parquet").to_pylist():
        write_run(job.study_dir, row, job.curves[row["method"]])
    return {"error": None}

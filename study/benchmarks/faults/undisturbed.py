"""The same study in a plain loop, without Ray and without checkpoints, and where the records of two studies differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.records.rows import curves_dir, read_curve, read_runs, runs_dir
from study.planning.members import plan_packs, plan_teachers

# What depends on when and how often a member was run, and on what is edited meanwhile.
_TIMES = {"train_seconds", "eval_seconds", "device_seconds", "steps_per_second", "macs_per_second", "peak_memory_mb"}
_TIMES |= {"started_at", "finished_at", "code_version"}


def run_undisturbed(overrides: Sequence[str]) -> int:
    """Makes the teachers and runs every pack of a grid here; returns the number of members."""
    import torch

    from study.config.command_line import compose
    from study.config.parse import study_config
    from study.directory.layout import folders
    from study.execution.run_packs import make_sink
    from study.planning.members import plan_members
    from trainables.training.pack import run_pack
    from trainables.training.teachers import make_teacher

    torch.set_num_threads(1)  # like a worker
    config = study_config(compose("config", list(overrides)))
    where = folders(config.study_dir)
    for teacher in plan_teachers(config):
        make_teacher(teacher, config.evaluation, where)
    members = plan_members(config)
    for pack in plan_packs(members, config.max_members):
        run_pack(pack.members, where, make_sink(config, "grid"))
    return len(members)


def difference(actual: Path, expected: Path) -> list[str]:
    """How the records of one study differ from those of another in anything but times, in words."""
    found, wanted = _rows(actual), _rows(expected)
    differences = [f"{run_id} is missing" for run_id in wanted.keys() - found.keys()]
    differences += [f"{run_id} is too many" for run_id in found.keys() - wanted.keys()]
    for run_id in wanted.keys() & found.keys():
        columns = [name for name, value in wanted[run_id].items() if found[run_id][name] != value]
        differences += [f"{run_id} differs in {', '.join(columns)}"] if columns else []
        if not read_curve(actual, run_id).equals(read_curve(expected, run_id)):
            differences.append(f"{run_id} has another curve")
    for folder in (runs_dir(actual), curves_dir(actual)):
        num_files = len(list(folder.iterdir()))
        differences += [f"{num_files} files in {folder.name}"] if num_files != len(wanted) else []
    return differences


def _rows(study_dir: Path) -> dict[str, dict[str, Any]]:
    rows = read_runs(study_dir).drop_columns(sorted(_TIMES)).to_pylist()
    return {row["run_id"]: row for row in rows}

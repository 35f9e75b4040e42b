"""How to make a report and its study again: command, protocol, versions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.records.protocol import protocols_of

_VERSIONS = ("code_version", "torch", "ray", "diffusers", "device")
_TRAINING = ("data", "student", "steps", "batch_size", "optimiser", "lr", "ema_decay", "precision")
MAX_VALUES = 6


def reproduce(runs: Mapping[str, pa.Table], *, seed: int, command: str | None, sweep: str | None) -> dict[str, Any]:
    """What the records say of how they came about: distinct values by column, counts by phase and status.

    command made this report, sweep the study; None: not known.
    """
    table = pa.concat_tables(runs.values())
    evaluation: dict[str, list[str]] = {}
    for protocol in protocols_of(table):
        for key, value in protocol.items():
            evaluation.setdefault(key.removeprefix("evaluation."), []).append(str(value))
    return {
        "command": command,
        "sweep": sweep,
        "seed": seed,
        "studies": {name: len(rows) for name, rows in runs.items()},
        "phases": _counts(table, "phase"),
        "status": _counts(table, "status"),
        "evaluation": {name: " and ".join(sorted({*values})) for name, values in evaluation.items()},
        "training": {name: _distinct(table, name) for name in _TRAINING},
        "versions": {name: _distinct(table, name) for name in _VERSIONS},
    }


def _counts(table: pa.Table, name: str) -> dict[str, int]:
    counts = pc.value_counts(table.column(name).combine_chunks())
    return {entry["values"]: entry["counts"] for entry in sorted(counts.to_pylist(), key=lambda entry: entry["values"])}


def _distinct(table: pa.Table, name: str) -> str:
    values = sorted({str(value) for value in pc.unique(table.column(name)).to_pylist() if value is not None})
    more = f" and {len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else ""
    return ", ".join(values[:MAX_VALUES]) + more


def more_seeds(sweep: str | None, study_dir: str | None, seeds: Sequence[int]) -> str | None:
    """The command that runs the study with `seeds`: its own overrides, but for seeds and study_dir.

    None where there are no seeds to add, or where the study's command is not known.
    """
    if not seeds or sweep is None or study_dir is None:
        return None
    own = [word for word in shlex.split(sweep) if not word.startswith(("seeds=", "study_dir="))]
    return shlex.join([*own, f"study_dir={study_dir}", f"seeds=[{','.join(map(str, seeds))}]"])

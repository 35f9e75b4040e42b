"""How to make a report and its study again: command, protocol, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.records.rows import EVALUATION_PROTOCOL

_VERSIONS = ("code_version", "torch", "ray", "diffusers", "device")
_TRAINING = ("data", "student", "steps", "batch_size", "optimiser", "lr", "ema_decay", "precision")
MAX_VALUES = 6


def reproduce(runs: Mapping[str, pa.Table], *, seed: int, command: str | None) -> dict[str, Any]:
    """What the records say of how they came about: distinct values by column, counts by phase and status."""
    table = pa.concat_tables(runs.values())
    return {
        "command": command or "python -m study.report study_dir=...",
        "seed": seed,
        "studies": {name: len(rows) for name, rows in runs.items()},
        "phases": _counts(table, "phase"),
        "status": _counts(table, "status"),
        "evaluation": {name: _distinct(table, name) for name in EVALUATION_PROTOCOL},
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

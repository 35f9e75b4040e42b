"""What a logger shows of a member: the same in every tool, and all of it from the records."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Row = Mapping[str, Any]

_SETTINGS = (
    *("run_id", "study", "phase", "status", "data", "teacher", "teacher_params", "student", "student_params"),
    *("capacity_gap", "method", "output", "feature", "group_size", "coarse_norm", "gate", "reduction"),
    *("lambda_diff", "lambda_out", "lambda_feat", "seed", "steps", "batch_size", "optimiser", "lr", "ema_decay"),
    *("precision", "num_images", "sampler", "sampler_steps", "feature_extractor", "weights_digest", "code_version"),
)
_RESULTS = (
    *("fid", "is_mean", "precision_", "recall", "kid", "student_teacher_distance", "diverged_at_step"),
    *("train_seconds", "eval_seconds", "device_seconds", "steps_per_second", "peak_memory_mb"),
)


def run_name(row: Row) -> str:
    """A name that people read, of letters that a path may have; it ends with the run_id."""
    text = f"{row['teacher'] or 'none'}-{row['method']}-seed{row['seed']}"
    return f"{re.sub(r'[^A-Za-z0-9_=-]', '_', text)[:100]}-{row['run_id']}"


def settings(row: Row) -> dict[str, Any]:
    """What the member is: text, numbers; without what does not apply to it."""
    return {key: row[key] for key in _SETTINGS if row[key] is not None}


def results(row: Row) -> dict[str, float]:
    """What came out: numbers of the row, without those that it lacks."""
    return {key: float(row[key]) for key in _RESULTS if row[key] is not None and math.isfinite(row[key])}


def points(curve: Sequence[Row]) -> Iterator[tuple[int, dict[str, float]]]:
    """The curve as steps and finite values, by ascending step; each step once."""
    merged: dict[int, dict[str, float]] = {}
    for point in curve:
        known = {key: value for key, value in point.items() if key != "step" and value is not None}
        finite = {key: float(value) for key, value in known.items() if math.isfinite(value)}
        merged.setdefault(point["step"], {}).update(finite)
    yield from sorted(merged.items())


def time_of(row: Row, step: int) -> datetime:
    """About when the member took a step: between its start and its end, which the row holds."""
    start, end = row["started_at"] or _EPOCH, row["finished_at"] or _EPOCH
    part: timedelta = (end - start) * min(1.0, step / max(1, row["steps"]))
    moment: datetime = start + part
    return moment


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

"""report.json: every number of the report, for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np

from analysis.records.cells import Cell
from analysis.report.stability_table import stability_records
from analysis.results.compute import Results
from analysis.statistics.calibration import shipped


def report_json(results: Results, reproduce: dict[str, Any]) -> str:
    """The JSON text; numbers that do not exist are null."""
    content = {
        "findings": dataclasses.asdict(results.findings),
        "settings": dataclasses.asdict(results.settings),
        "cells": [
            {**record, "tries": _tries(entry[0])}
            for record, entry in zip(stability_records(results.whole), results.whole, strict=True)
        ],
        "common_seeds": stability_records(results.entries),
        "family": None if results.family is None else dataclasses.asdict(results.family),
        "probability_better": [
            {"a": a, "b": b, "probability": value, "interval": interval}
            for (a, b), (value, interval) in results.chances.items()
        ],
        "trends": [dataclasses.asdict(one) for one in results.trends],
        "components": [{"cell": label, **dataclasses.asdict(one)} for label, one in results.components],
        "diagnostics": results.diagnostics,
        "not_compared": results.not_compared,
        "real_images": {
            name: {"half_against_half_fid": one.half_against_half_fid, "images_of_a_half": one.images_of_a_half}
            for name, one in results.real_images.items()
        },
        "paired": results.tries is not None and results.tries.paired,
        "calibration": [dataclasses.asdict(one) for one in shipped()],
        "reproduce": reproduce,
    }
    lines = [
        f"{json.dumps(name)}: {json.dumps(_finite_only(part), ensure_ascii=False, allow_nan=False)}"
        for name, part in content.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _tries(cell: Cell) -> dict[str, list[Any]]:
    """The members of a cell as columns."""
    return {
        "run_id": list(cell.run_ids),
        "seed": cell.seeds.tolist(),
        "fid": cell.fid.tolist(),
        "collapsed_or_diverged": cell.collapsed.tolist(),
        "diverged": cell.diverged.tolist(),
    }


def _finite_only(value: Any) -> Any:
    """JSON values: what is not finite is null."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite_only(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite_only(item) for item in value]
    return value

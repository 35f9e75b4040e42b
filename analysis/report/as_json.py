"""report.json: every number of the report, for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from analysis.records.cells import Cell
from analysis.report.stability_table import stability_records
from analysis.results.compute import Results
from analysis.statistics.calibration import shipped


def report_json(results: Results, reproduce: dict[str, Any]) -> str:
    """The JSON text; numbers that do not exist are null."""
    findings = dataclasses.asdict(results.findings)
    findings["needed"] = [
        {"a": a, "b": b, **dataclasses.asdict(seeds)} for (a, b), seeds in results.findings.needed.items()
    ]
    content = {
        "findings": findings,
        "cells": [
            {**record, "tries": _tries(entry[0])}
            for record, entry in zip(stability_records(results.entries), results.entries, strict=True)
        ],
        "ablation": stability_records(results.ablation),
        "comparisons": [dataclasses.asdict(one) for one in results.comparisons],
        "trends": [dataclasses.asdict(one) for one in results.trends],
        "slope_differences": [dataclasses.asdict(one) for one in results.slopes],
        "rank_correlations": [dataclasses.asdict(one) for one in results.correlations],
        "paired": results.paired,
        "calibration": [dataclasses.asdict(one) for one in shipped()],
        "reproduce": reproduce,
    }
    lines = [
        f"{json.dumps(name)}: {json.dumps(_plain(part), ensure_ascii=False, allow_nan=False)}"
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


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value

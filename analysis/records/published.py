"""Tables of the LIFT and PLACE paper, shipped as data (analysis/published/*.json), and its tries as rows of records.

The paper prints five tries a cell but not their seeds, so tries of two methods are not paired: they are compared as
independent groups.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Any

import pyarrow as pa

from analysis.records.rows import RUN_SCHEMA, SCHEMA_VERSION

TABLES = ("table6", "table7", "table8", "table9")
WITH_TRIES = ("table6",)

# What the paper says of Table 6 beside its tries: CelebA 64x64, Diff-Pruning recipe at 90% pruning, DDIM 100 steps.
_TABLE6 = {
    "study": "table6", "phase": "grid", "status": "ok", "data": "celeba_64", "student": "diff_pruning_90",
    "steps": 500_000, "batch_size": 96, "optimiser": "adam", "lr": 2e-4, "ema_decay": 0.9999, "precision": "unknown",
    "matmul": "unknown", "fused": False, "num_images": 50_000, "sampler": "ddim", "sampler_steps": 100,
    "feature_extractor": "inception", "reference_split": "train", "world_size": 1,
    "reduction": "sum", "lambda_diff": 1.0, "lambda_out": 1.0,
}  # fmt: skip


def published_table(name: str) -> dict[str, Any]:
    """The paper's table `name` as printed: source, caption and rows. Raises ValueError where there is none."""
    if name not in TABLES:
        raise ValueError(f"published must be one of {', '.join(TABLES)} but got {name!r}")
    text = (resources.files("analysis") / "published" / f"{name}.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def published_runs(name: str) -> pa.Table:
    """Every try of the paper's table `name` as a row of RUN_SCHEMA (60 for table6); the seed is the try's place.

    Every status is ok: which tries have collapsed is a matter of the report's threshold, and the paper names none.
    """
    if name not in WITH_TRIES:
        raise ValueError(
            f"published must be one of {', '.join(WITH_TRIES)} (tables with single tries) but got {name!r}"
        )
    table = published_table(name)
    student_params = round(table["student_params_m"] * 1e6)
    rows = [_row(cell, seed, fid, student_params) for cell in table["rows"] for seed, fid in enumerate(cell["tries"])]
    return pa.Table.from_pylist(rows, schema=RUN_SCHEMA).sort_by("run_id")


def _row(cell: dict[str, Any], seed: int, fid: float, student_params: int) -> dict[str, Any]:
    params, teacher = round(cell["teacher_params_m"] * 1e6), f"celeba_{cell['teacher_params_m']}m"
    lift = cell["method"].startswith("lift")
    settings = {
        "teacher": teacher, "teacher_id": teacher, "teacher_params": params, "method": cell["method"],
        "seed": seed, "output": "lift_place" if lift else "mse",
        "feature": "fitnet" if "feat" in cell["method"] else "none",
        "group_size": 16 if lift else None, "coarse_norm": "l1" if lift else None, "gate": "adaptive" if lift else None,
        "lambda_feat": 1e-6 if "feat" in cell["method"] else None,
    }  # fmt: skip
    member = json.dumps(_member({**_TABLE6, **settings}), sort_keys=True)
    run_id = hashlib.sha256(member.encode()).hexdigest()[:16]
    return {
        **_TABLE6, **settings, "schema_version": SCHEMA_VERSION, "member": member, "run_id": run_id, "train_id": run_id,
        "teacher_fid": cell["teacher_fid"], "student_params": student_params, "capacity_gap": params / student_params,
        "student_macs": 0, "fid": fid,
    }  # fmt: skip


def _member(row: dict[str, Any]) -> dict[str, Any]:
    """The identity of a try, in the shape of a study's."""
    method = ("output", "feature", "group_size", "coarse_norm", "gate", "lambda_out", "lambda_feat", "reduction")
    return {
        **{key: row[key] for key in ("data", "student", "seed")},
        "teacher": row["teacher"],
        "method": {"name": row["method"], **{key: row.get(key) for key in method}},
        "train": {key: row[key] for key in ("steps", "batch_size", "optimiser", "lr", "ema_decay")},
        "evaluation": {
            key: row[key] for key in ("num_images", "sampler", "sampler_steps", "feature_extractor", "reference_split")
        },
    }

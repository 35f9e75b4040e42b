"""Synthetic study directories, written by the same writer that a study uses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from analysis.records.rows import write_run

TEACHERS = {"small": (180_000, 4.0), "medium": (400_000, 3.0), "large": (1_400_000, 3.5)}
STUDENT_PARAMS = 20_000
METHODS = {
    "diffusion_only": (90.0, 8.0),
    "out_kd": (60.0, 6.0),
    "out_feat_kd": (50.0, 4.0),
    "lift_place_feat": (30.0, 1.5),
}


def make_row(method: str, teacher: str | None, seed: int, fid: float | None, **changes: Any) -> dict[str, Any]:
    """A row of RUN_SCHEMA with every required column; `changes` overrides columns, or dotted keys of member."""
    lift = method.startswith("lift")
    params, teacher_fid = TEACHERS.get(teacher or "", (None, None))
    row: dict[str, Any] = {
        "study": "toy", "phase": "grid", "status": "ok" if fid is not None else "diverged", "data": "digits",
        "teacher": teacher, "teacher_id": teacher and f"id-{teacher}", "teacher_params": params,
        "teacher_macs": params and 10 * params, "teacher_fid": teacher_fid, "student": "tiny",
        "student_params": STUDENT_PARAMS, "student_macs": 10 * STUDENT_PARAMS,
        "capacity_gap": params and params / STUDENT_PARAMS, "method": method,
        "output": "lift_place" if lift else "none" if teacher is None else "mse",
        "feature": "fitnet" if "feat" in method else "none",
        "group_size": 16 if lift else None, "coarse_norm": "l1" if lift else None, "gate": "adaptive" if lift else None,
        "reduction": None if teacher is None else "sum", "lambda_diff": 1.0,
        "lambda_out": None if teacher is None else 1.0,
        "lambda_feat": 1e-6 if "feat" in method else None, "seed": seed, "steps": 500, "batch_size": 32,
        "optimiser": "adam", "lr": 2e-3, "ema_decay": 0.99, "precision": "float32", "fid": fid, "num_images": 512,
        "sampler": "ddim", "sampler_steps": 25, "feature_extractor": "digits_cnn_v1", "reference_split": "test",
        "student_teacher_distance": None if teacher is None or fid is None else fid / 1000,
        "device_seconds": 10.0 + seed,
        "matmul": "float32", "fused": False, "world_size": 1, "device": "cpu", "torch": "2.13.0", "ray": "2.60.0",
        "diffusers": "0.42.1", "code_version": "test",
    }  # fmt: skip
    row.update({key: value for key, value in changes.items() if "." not in key})
    row["member"] = json.dumps(_member(row, changes), sort_keys=True)
    row["run_id"] = hashlib.sha256((row["phase"] + row["member"]).encode()).hexdigest()[:16]
    row["train_id"] = row["run_id"]
    return row


def _member(row: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """What a study hashes; a change such as {"train.eps": 1e-7} is in it and in no column."""
    names = ("output", "feature", "group_size", "coarse_norm", "gate", "reduction")
    weights = ("lambda_diff", "lambda_out", "lambda_feat")
    member: dict[str, Any] = {
        **{key: row[key] for key in ("data", "seed")},
        "teacher": row["teacher_id"],
        "student": {"model_class": row["student"]},
        "method": {"name": row["method"], **{key: row[key] for key in (*names, *weights)}},
        "train": {
            key: row[key] for key in ("steps", "batch_size", "optimiser", "lr", "ema_decay", "precision", "matmul")
        },
        "evaluation": {key: row[key] for key in ("num_images", "sampler", "sampler_steps", "feature_extractor")},
    }
    for key, value in changes.items():
        if "." in key:
            group, name = key.split(".")
            member[group][name] = value
    return member


def make_curve(*, lift: bool, points: int = 8) -> list[dict[str, Any]]:
    steps = range(0, 60 * points, 60)
    return [
        {"step": step, "loss": 300.0 / (1 + step / 60), "loss_diff": 200.0, "loss_out": 100.0,
         "distance": 1.0 / (1 + step), "grad_norm": 1.0, "gate": min(step / 400, 1.0) if lift else None,
         "slope_error": 0.5 if lift else None,
         "intercept_error": 0.1 if lift else None}
        for step in steps
    ]  # fmt: skip


def write_study(study_dir: Path, rows: list[dict[str, Any]], *, curves: bool = True) -> Path:
    for row in rows:
        write_run(study_dir, row, make_curve(lift=row["method"].startswith("lift")) if curves else ())
    return study_dir


def toy_rows(num_seeds: int = 5) -> list[dict[str, Any]]:
    """3 teachers x 4 methods x seeds; diffusion_only once per seed; out_kd on the largest collapses and diverges."""
    generator = np.random.default_rng(0)
    rows = []
    for method, (location, spread) in METHODS.items():
        for step, teacher in enumerate([None] if method == "diffusion_only" else TEACHERS):
            noise = generator.normal(0, spread * (1 + step), num_seeds)
            for seed in range(num_seeds):
                rows.append(make_row(method, teacher, seed, float(location + 8 * step + noise[seed])))
    broken = [index for index, row in enumerate(rows) if row["method"] == "out_kd" and row["teacher"] == "large"]
    rows[broken[0]] = make_row("out_kd", "large", 0, 412.0)
    rows[broken[1]] = make_row("out_kd", "large", 1, None, diverged_at_step=77)
    return rows


def search_rows(num: int = 12) -> list[dict[str, Any]]:
    """Searched members of lift_place_feat with varied settings and seeds that the grid does not use."""
    generator = np.random.default_rng(1)
    return [
        make_row(
            "lift_place_feat", "medium", 1000 + index, float(30 + 20 * generator.random()), phase="search",
            group_size=int(generator.choice([4, 8, 16, 32])), lambda_out=float(10 ** generator.uniform(-1, 1)),
            coarse_norm=str(generator.choice(["l1", "l2"])),
        )
        for index in range(num)
    ]  # fmt: skip


def variant_rows() -> list[dict[str, Any]]:
    """lift_place at three group sizes."""
    return [
        make_row("lift_place", "large", seed, 30.0 + size / 4 + seed, group_size=size)
        for size in (4, 16, 64)
        for seed in (0, 1)
    ]


def write_evaluation_files(study_dir: Path, rows: list[dict[str, Any]]) -> None:
    """samples/<run_id>.png and .npz as the evaluation writes them: 8x8 images, three timesteps."""
    from matplotlib.image import imsave

    generator = np.random.default_rng(2)
    folder = study_dir / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        imsave(folder / f"{row['run_id']}.png", generator.random((32, 32)), cmap="gray")
        error = generator.random((3, 8, 8)).astype(np.float32)
        arrays = {
            "timesteps": np.array([10, 500, 900]),
            "squared_error": error,
            "example": generator.random((8, 8)).astype(np.float32),
        }
        if row["method"].startswith("lift"):
            arrays["place_group"] = (
                (error.reshape(3, 64).argsort(axis=1).argsort(axis=1) // 16).reshape(3, 8, 8).astype(np.int16)
            )
        np.savez(folder / f"{row['run_id']}.npz", **arrays)

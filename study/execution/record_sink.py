"""The record sink: turns a finished member into its row, curve, samples and error maps. Runs inside the workers."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import ray
import torch

from analysis.records.rows import write_run
from study.directory.layout import samples_dir
from study.watching.events import EventLog, log_dir
from trainables.data import data_shape
from trainables.evaluation.real_images import save_grid
from trainables.evaluation.sealed_files import write_npz
from trainables.evaluation.study_extractor import extractor_name
from trainables.folders import Folders
from trainables.models.facts import find_teacher, student_size
from trainables.specs import Member, canonical_json
from trainables.training.pack import MemberResult

_LOGGED = (
    *("run_id", "phase", "status", "teacher", "method", "seed", "steps", "diverged_at_step"),
    *("fid", "device_seconds", "peak_memory_mb", "device"),
)


@dataclass(frozen=True, kw_only=True)
class RecordSink:
    """Writes one row and one curve per member, and its samples before them: a row never lacks what it stands for."""

    study_dir: Path
    study: str
    phase: str
    phases: Mapping[str, str]  # by run_id, of the members whose phase is not `phase`
    folders: Folders
    devices_per_worker: float = 1.0  # the part of a GPU that a worker has, or GPUs

    def __call__(self, result: MemberResult) -> None:
        if result.evaluation is not None:
            _write_samples(result, samples_dir(self.study_dir))
        row = self._row(result)
        write_run(self.study_dir, row, result.trained.curve)
        EventLog(log_dir(self.study_dir), "worker")("member_finished", **{key: row.get(key) for key in _LOGGED})

    def _row(self, result: MemberResult) -> dict[str, Any]:
        member, seconds = result.member, result.trained.train_seconds + result.eval_seconds
        phase = self.phases.get(member.run_id, self.phase)
        if member.rungs and phase != "search":
            raise ValueError(f"{member.run_id} may be stopped early, so it can be no member of phase {phase}")
        steps = result.trained.stopped_at_step or member.train.steps
        finished = datetime.now(UTC)
        return {
            "study": self.study,
            "phase": phase,
            "status": _status(result),
            **_identity(member),
            **self._sizes(member),
            **_evaluation(result),
            "steps": steps,
            "diverged_at_step": result.trained.diverged_at_step,
            "train_seconds": result.trained.train_seconds,
            "eval_seconds": result.eval_seconds,
            "device_seconds": seconds * result.world_size * self.devices_per_worker,
            "steps_per_second": steps / max(result.trained.train_seconds, 1e-9),
            "macs_per_second": self._macs_per_second(result),
            "peak_memory_mb": result.peak_memory_mb,
            "weights_digest": result.trained.digest,
            "world_size": result.world_size,
            "fused": result.fused,
            "device": result.device,
            "torch": torch.__version__,
            "ray": ray.__version__,
            "diffusers": diffusers.__version__,
            "code_version": code_version(),
            "started_at": finished - timedelta(seconds=seconds),
            "finished_at": finished,
        }

    def _macs_per_second(self, result: MemberResult) -> float | None:
        """Of this worker while it trained the member's pack; None where the student was trained before."""
        member, speed = result.member, result.trained.speed
        if speed is None:
            return None
        student = student_size(member.student, data_shape(member.data), self.folders.initial)
        guide = find_teacher(member.guide, member.evaluation, self.folders) if member.guide else None
        return speed.macs_per_second(student.macs, guide.size.macs if guide else 0)

    def _sizes(self, member: Member) -> dict[str, Any]:
        shape = data_shape(member.data)
        student = student_size(member.student, shape, self.folders.initial)
        row: dict[str, Any] = {"student_params": student.params, "student_macs": student.macs}
        if member.teacher is not None:
            teacher = find_teacher(member.teacher, member.evaluation, self.folders)
            assert teacher is not None
            row |= {
                "teacher_params": teacher.size.params,
                "teacher_macs": teacher.size.macs,
                "teacher_fid": teacher.fid,
            }
            row["capacity_gap"] = teacher.size.params / student.params
        return row


def _status(result: MemberResult) -> str:
    """A member without a finite FID has diverged; which of the others have collapsed is a setting of the report."""
    return "ok" if result.evaluation is not None and np.isfinite(result.evaluation.metrics["fid"]) else "diverged"


def _identity(member: Member) -> dict[str, Any]:
    """The columns that say which member it is."""
    method, train, evaluation = member.method, member.train, member.evaluation
    return {
        "run_id": member.run_id,
        "train_id": member.train_id,
        "member": canonical_json(member.identity()),
        "data": member.data.name,
        "teacher": member.teacher.name if member.teacher else None,
        "teacher_id": member.teacher.teacher_id if member.teacher else None,
        "teacher_seed": member.teacher.seed if member.teacher else None,
        "student": member.student.name,
        "method": method.name,
        **{
            key: getattr(method, key) for key in ("output", "feature", "group_size", "coarse_norm", "gate", "reduction")
        },
        **{key: getattr(method, key) for key in ("lambda_diff", "lambda_out", "lambda_feat")},
        "seed": member.seed,
        **{
            key: getattr(train, key)
            for key in ("steps", "batch_size", "optimiser", "lr", "ema_decay", "precision", "matmul")
        },
        **{key: getattr(evaluation, key) for key in ("num_images", "sampler", "sampler_steps")},
        "feature_extractor": extractor_name(evaluation, member.data),
        "reference_split": evaluation.reference_name,
    }


def _evaluation(result: MemberResult) -> dict[str, Any]:
    if result.evaluation is None:
        return {}
    return {
        **{key: _finite(value) for key, value in result.evaluation.metrics.items()},
        "fid_by_noise_seed": [_finite(value) for value in result.evaluation.fid_by_noise_seed],
        "student_teacher_distance": result.evaluation.student_teacher_distance,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _write_samples(result: MemberResult, folder: Path) -> None:
    assert result.evaluation is not None
    save_grid(folder / f"{result.member.run_id}.png", result.evaluation.samples)
    if result.evaluation.error_maps:
        write_npz(folder / f"{result.member.run_id}.npz", result.evaluation.error_maps)


@cache
def code_version() -> str:
    """E.g. `0.1.0+3f2c1ab`, with `-dirty` when the checkout has changes; `0.1.0` outside a checkout."""
    root = Path(__file__).parents[2]
    package = version("kd-stability-study").partition("+")[0]
    if not (root / ".git").exists():
        return package
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{package}+{described.stdout.strip()}" if described.returncode == 0 else package

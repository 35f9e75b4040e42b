"""How many MACs a second a worker does: measured by the rows of the study, or assumed where none is there yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.records.rows import read_runs
from study.config.study import ClusterConfig

# Assumed until a pack has been measured. A pass is a forward pass of a batch; what it takes beside its MACs decides the
# time of very small models on a CPU (Python, kernels of a few microseconds, the optimiser). A GPU's kernels are started
# while it computes, so there it is left out.
CPU_MACS_PER_SECOND = 40e9  # of a thread, in float32
CPU_PASS_SECONDS = 0.003
GPU_MACS_PER_SECOND = 5e12  # of a GPU, in float32: 10 teraflops, half of an A100's peak
GPU_SHARES = {"float32": 0.5, "tf32": 0.3, "bf16": 0.3}  # of a card's peak by train.matmul, assumed where none is said
_COLUMNS = ["steps", "train_seconds", "macs_per_second", "device"]
_PASSES = 3  # of a member in a step: forward, and backward as twice that


@dataclass(frozen=True)
class Work:
    """MACs, and the forward passes of a batch that they are divided into."""

    macs: float
    passes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.macs + other.macs, self.passes + other.passes)

    def __rmul__(self, times: float) -> Work:
        return Work(times * self.macs, times * self.passes)


@dataclass(frozen=True)
class Throughput:
    """Of a worker. `source` says in words where it is from."""

    macs_per_second: float
    pass_seconds: float
    source: str

    def seconds(self, work: Work) -> float:
        return work.macs / self.macs_per_second + work.passes * self.pass_seconds


def find_throughput(study_dir: Path, cluster: ClusterConfig) -> Throughput:
    """Of the rows of the study on the same kind of device, else the assumed one."""
    return measured(read_runs(study_dir).select(_COLUMNS).to_pylist(), cluster) or assumed(cluster)


def assumed(cluster: ClusterConfig) -> Throughput:
    """A GPU, or the part of it that a worker has; without one the worker's CPU threads."""
    if cluster.gpus_per_worker > 0:
        return Throughput(GPU_MACS_PER_SECOND * cluster.gpus_per_worker, 0.0, "assumed of a GPU")
    threads = max(1, int(cluster.cpus_per_worker))
    return Throughput(CPU_MACS_PER_SECOND * threads, CPU_PASS_SECONDS, "assumed of a CPU thread")


def measured(rows: Iterable[Mapping[str, Any]], cluster: ClusterConfig) -> Throughput | None:
    """What rows of the same kind of device measured; None where none did.

    rows: with steps, train_seconds, macs_per_second and device. Members' seconds are shares of their pack's, so over a
    pack the sum of macs_per_second x train_seconds is its MACs. The assumed throughput and seconds of a pass are scaled
    by one factor, so that they give the seconds that were measured: the throughput of a small model's pack is mostly
    its passes, and would be wrong for a large one. Passes of the teacher are left out, MACs of the teacher are not.
    """
    start, on_gpu = assumed(cluster), cluster.gpus_per_worker > 0
    used = [
        row for row in rows if row["macs_per_second"] and row["train_seconds"] and (row["device"] != "cpu") == on_gpu
    ]
    if not used:
        return None
    work = Work(
        sum(row["macs_per_second"] * row["train_seconds"] for row in used),
        sum(_PASSES * row["steps"] for row in used),
    )
    factor = sum(row["train_seconds"] for row in used) / start.seconds(work)
    devices = ", ".join(sorted({str(row["device"]) for row in used}))
    source = f"measured on {len(used)} member{'' if len(used) == 1 else 's'} ({devices})"
    return Throughput(start.macs_per_second / factor, start.pass_seconds * factor, source)

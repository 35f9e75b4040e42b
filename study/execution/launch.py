"""What the trials of a study are given. Imports Ray alone, since drivers and controllers load no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from study.execution.losses import Work

NO_LIMIT = -1


@dataclass(frozen=True)
class Trial:
    """The packs that one worker group trains, and a name that follows from them."""

    name: str
    packs: ray.ObjectRef  # list[tuple[str, list[Member]]]: pack_id and members
    work: Sequence[Work]  # the packs by their names on the disk, for who does not open them


@dataclass(frozen=True)
class WorkerGroup:
    """What a pack runs on: a DDP group of num_workers ranks."""

    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    memory_gb_per_worker: float = 0.0
    placement_strategy: str = "PACK"  # STRICT_PACK: on one node

    @property
    def resources(self) -> dict[str, float]:
        """What one worker asks for, as Ray counts it; memory in bytes."""
        amounts = {
            "CPU": self.cpus_per_worker,
            "GPU": self.gpus_per_worker,
            "memory": self.memory_gb_per_worker * 1e9,
        }
        return {kind: amount for kind, amount in amounts.items() if amount > 0}

    @property
    def threads(self) -> int:
        """Of torch, in every worker."""
        return max(1, int(self.cpus_per_worker))

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_worker > 0 else "cpu"


@dataclass(frozen=True)
class Launch:
    """What the trials of a study share; `job` refers to a trainables.ray_train.PackJob."""

    job: ray.ObjectRef
    group: WorkerGroup
    storage: Mapping[str, Any]  # where Ray keeps what it has while packs run: arguments of its RunConfig
    log: Callable[..., None]  # event, **facts
    study_dir: Path

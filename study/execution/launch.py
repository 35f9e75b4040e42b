"""What the trials of a study are given. Imports Ray alone, for so may a trial's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray

NO_LIMIT = -1


@dataclass(frozen=True)
class Trial:
    """The packs that one worker group trains, and a name that follows from them."""

    name: str
    packs: ray.ObjectRef  # list[tuple[str, list[Member]]]: pack_id and members


@dataclass(frozen=True)
class WorkerGroup:
    """What a pack runs on: a DDP group of num_workers ranks."""

    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    memory_gb_per_worker: float = 0.0
    placement_strategy: str = "PACK"  # STRICT_PACK: on one node


@dataclass(frozen=True)
class Launch:
    """What the trials of a study share; `job` refers to a trainables.ray_train.PackJob."""

    job: ray.ObjectRef
    group: WorkerGroup
    storage: Mapping[str, Any]  # where Ray keeps what it has while packs run: arguments of its RunConfig
    log: Callable[..., None]  # event, **facts

"""What a Ray Train worker runs: the only file of trainables that imports Ray."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import get_device

from trainables.pack import Folders, Progress, Sink, run_pack


@dataclass(frozen=True)
class PackJob:
    """What the packs of a study share."""

    folders: Folders
    sink: Sink
    report: Callable[[str, int], None]  # pack_id, steps taken so far; called by rank 0
    threads: int  # of torch, in every worker


def train_worker(config: dict[str, Any]) -> None:
    """One rank of a worker group. config: references to the `job` and to the `packs`, pack_id and members of each."""
    job: PackJob = ray.get(config["job"])
    torch.set_num_threads(job.threads)
    rank = ray.train.get_context().get_world_rank()
    for pack_id, members in ray.get(config["packs"]):
        progress = Progress(partial(job.report, pack_id)) if rank == 0 else Progress()
        run_pack(members, job.folders, job.sink, device=str(get_device()), progress=progress)

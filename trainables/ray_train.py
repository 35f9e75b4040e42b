"""Runs packs and teachers on a Ray cluster: the only file of trainables that imports Ray."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device

from trainables.pack import Folders, Progress, Sink, run_pack
from trainables.specs import Member


@dataclass(frozen=True)
class WorkerGroup:
    """What one pack runs on: a DDP group of num_workers ranks."""

    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    max_failures: int = 3  # lost workers are infrastructure, not results

    @property
    def resources_per_worker(self) -> dict[str, float]:
        return {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker}


@dataclass(frozen=True)
class PackJob:
    """Everything a worker needs to run one pack."""

    members: Sequence[Member]
    folders: Folders
    sink: Sink
    report: Callable[[int], None]  # steps taken so far; called by rank 0
    threads: int


class _LeanTorchTrainer(TorchTrainer):  # type: ignore[misc]
    """Without the actor that serves Ray Data sets, which we do not use: one process less for every pack."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if type(callback).__name__ != "DatasetsCallback"]


def fit_pack(job: PackJob, group: WorkerGroup, *, name: str, storage: Path) -> None:
    """Runs the pack on a worker group of its own; its results go to the job's sink.

    `name` must follow from the work: with the same name and storage a restarted trainer finds its state again. Raises
    what a worker raised.
    """
    trainer = _LeanTorchTrainer(
        _train_worker,
        train_loop_config={"job": job, "use_gpu": group.gpus_per_worker > 0},
        scaling_config=ray.train.ScalingConfig(
            num_workers=group.num_workers,
            use_gpu=group.gpus_per_worker > 0,
            resources_per_worker=group.resources_per_worker,
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(storage.absolute()),
            failure_config=ray.train.FailureConfig(max_failures=group.max_failures),
        ),
    )
    trainer.fit()


def _train_worker(config: dict[str, Any]) -> None:
    job: PackJob = config["job"]
    torch.set_num_threads(job.threads)
    rank = ray.train.get_context().get_world_rank()
    progress = Progress(job.report) if rank == 0 else Progress()
    run_pack(job.members, job.folders, job.sink, device=str(get_device()), progress=progress)

"""What a Tune trial runs: packs, one after the other, on the workers of one TorchTrainer.

Drivers and controllers only wait, so this module imports neither diffusers nor the engine; members travel through
them as a reference into Ray's object store, and only the workers open it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer


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
    max_failures: int  # worker failures that a pack survives


@dataclass(frozen=True)
class Launch:
    """What the trials of a study share; `job` refers to a trainables.ray_train.PackJob."""

    job: ray.ObjectRef
    group: WorkerGroup
    storage: str  # absolute path of what Ray keeps while packs run


class _LeanTorchTrainer(TorchTrainer):  # type: ignore[misc]
    """Without the actor that serves Ray Data sets, which we do not use: one process less for every pack."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if type(callback).__name__ != "DatasetsCallback"]


def run_trial(config: dict[str, Any], launch: Launch) -> dict[str, Any]:
    """Trains the packs of config["trial"] on a worker group of its own; their rows are written when this returns.

    The trainer's name follows from the packs: with the same name and storage a restarted trainer finds its state again.
    Raises what a worker raised.
    """
    trial: Trial = config["trial"]
    group = launch.group
    resources = {"CPU": group.cpus_per_worker, "GPU": group.gpus_per_worker}
    trainer = _LeanTorchTrainer(
        _worker_function(),
        train_loop_config={"job": launch.job, "packs": trial.packs},
        scaling_config=ray.train.ScalingConfig(
            num_workers=group.num_workers,
            use_gpu=group.gpus_per_worker > 0,
            resources_per_worker={kind: amount for kind, amount in resources.items() if amount > 0},
        ),
        run_config=ray.train.RunConfig(
            name=trial.name,
            storage_path=launch.storage,
            failure_config=ray.train.FailureConfig(max_failures=group.max_failures),
        ),
    )
    trainer.fit()
    return {"name": trial.name}


def _worker_function() -> Any:
    """The worker's function as a closure: pickled by value, so that the controller between need not import it."""

    def train(config: dict[str, Any]) -> None:
        from trainables.ray_train import train_worker

        train_worker(config)

    return train

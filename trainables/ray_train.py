"""What a Ray Train worker runs: the only file of trainables that imports Ray."""

import json
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import get_device

from trainables.folders import Folders
from trainables.protocol import EvaluationSpec
from trainables.specs import Member, TeacherSpec
from trainables.training.checkpoints import Checkpoints, newest_steps
from trainables.training.execution import Execution
from trainables.training.failures import crashes_told
from trainables.training.memory import device_memory
from trainables.training.pack import Progress, Sink, run_pack
from trainables.training.teachers import make_teacher
from trainables.training.watch import Sight, Watch


@dataclass(frozen=True)
class PackJob:
    """What the packs of a study share."""

    folders: Folders
    sink: Sink
    report: Callable[..., None]  # pack_id, steps taken so far, at its start also its run_ids; called by rank 0
    progress_seconds: float  # between two reports
    threads: int  # of torch, in every worker
    checkpoints: Path  # a folder for every pack
    checkpoint_seconds: float | None  # between two; None: there are none
    execution: Execution
    gpu_part: float  # that a worker has
    watch: Callable[[Sight], None]  # what trains, about once a second; called by rank 0
    finished: Callable[[], Container[str]]  # the run_ids that have a row
    log: Callable[..., None]  # event, **facts; called by rank 0


@dataclass(frozen=True)
class TeacherJob:
    """What the ranks of a teacher are given."""

    spec: TeacherSpec
    evaluation: EvaluationSpec
    folders: Folders
    report: Callable[[int], None]  # steps taken so far; called by rank 0
    progress_seconds: float  # between two reports
    threads: int  # of torch, in every worker
    checkpoints: Path
    checkpoint_seconds: float | None  # between two; None: there are none
    execution: Execution
    devices: float  # of a worker


def teacher_worker(config: dict[str, Any]) -> None:
    """One rank of a worker group that makes a teacher. config: a reference to the `job`."""
    job: TeacherJob = ray.get(config["job"])
    rank = ray.train.get_context().get_world_rank()
    _make_teacher(job, str(get_device()), rank, Checkpoints(job.checkpoints, job.checkpoint_seconds, _tell_ray_train))


def teacher_alone(job: TeacherJob, device: str) -> None:
    """A task of Ray that makes a teacher."""
    _make_teacher(job, device, 0, Checkpoints(job.checkpoints, job.checkpoint_seconds))


def _make_teacher(job: TeacherJob, device: str, rank: int, checkpoints: Checkpoints) -> None:
    torch.set_num_threads(job.threads)
    with crashes_told(job.checkpoints, rank):
        make_teacher(
            job.spec,
            job.evaluation,
            job.folders,
            device=device,
            progress=Progress(job.report, job.progress_seconds) if rank == 0 else Progress(),
            checkpoints=checkpoints,
            execution=job.execution,
            devices=job.devices,
        )


def train_worker(config: dict[str, Any]) -> None:
    """One rank of a worker group. config: references to the `job` and to the `packs`, pack_id and members of each."""
    job: PackJob = ray.get(config["job"])
    torch.set_num_threads(job.threads)
    rank = ray.train.get_context().get_world_rank()
    for pack_id, members in ray.get(config["packs"]):
        started = time.monotonic()
        if rank == 0:
            job.report(pack_id, 0, [member.run_id for member in members])
            saved = newest_steps(job.checkpoints / pack_id)
            job.log("pack_started", pack_id=pack_id, saved_steps=saved, **_pack_facts(members))
        with crashes_told(job.checkpoints / pack_id, rank):
            run_pack(
                members,
                job.folders,
                job.sink,
                device=str(get_device()),
                progress=Progress(partial(job.report, pack_id), job.progress_seconds) if rank == 0 else Progress(),
                checkpoints=Checkpoints(job.checkpoints / pack_id, job.checkpoint_seconds, _tell_ray_train),
                watch=Watch(job.watch) if rank == 0 else None,
                execution=job.execution,
                finished=job.finished,
                memory_of=partial(device_memory, part=job.gpu_part),
            )
        if rank == 0:
            job.log("pack_ended", pack_id=pack_id, seconds=round(time.monotonic() - started, 3))


def _pack_facts(members: Sequence[Member]) -> dict[str, Any]:
    """What a log says of a pack."""
    first = members[0]
    return {
        "teacher": first.teacher.name if first.teacher else None,
        "seeds": sorted({member.seed for member in members}),
        "steps": first.train.steps,
        "run_ids": [member.run_id for member in members],
    }


def _tell_ray_train(checkpoint: Path, steps: int) -> None:
    """Reports a checkpoint where it lies, by a pointer to it in the run's own folder: nothing is copied.

    A pack may go on in another run of Ray Train than began it, so its checkpoints lie outside of all of them, and a
    worker looks for them there. Every rank must report, or the others wait for it.
    """
    context = ray.train.get_context()
    storage = context.get_storage()
    pointer = f"{storage.experiment_fs_path}/{checkpoint.parent.name}-{checkpoint.name}"
    if context.get_world_rank() == 0:
        storage.storage_filesystem.create_dir(pointer)
        with storage.storage_filesystem.open_output_stream(f"{pointer}/pointer.json") as file:
            file.write(json.dumps({"checkpoint": str(checkpoint)}).encode())
    reported = ray.train.Checkpoint(pointer, storage.storage_filesystem) if context.get_world_rank() == 0 else None
    ray.train.report(
        {"steps": steps},
        checkpoint=reported,
        checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
    )

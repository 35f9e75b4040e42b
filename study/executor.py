"""Packs -> Ray Tune trials -> rows. One Tune trial = one pack = one TorchTrainer."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle

from analysis.records import finished_run_ids
from study.cluster import Cluster
from study.config import ClusterConfig, StudyConfig
from study.layout import checkpoints_dir, folders
from study.plan import Pack
from study.progress import bar, describe_packs, make_board, reporter
from study.sink import RecordSink
from trainables.models import Size, count
from trainables.data import image_shape
from trainables.pack import Folders, Progress
from trainables.ray_train import PackJob, WorkerGroup, fit_pack
from trainables.specs import EvaluationSpec, Member, TeacherSpec
from trainables.teachers import Teacher, find_teacher, make_teacher

# Tune's driver of a trial only waits: it takes no CPU from the workers, and runs beside the head.
_DRIVER_RESOURCES = {"CPU": 0, "node:__internal_head__": 0.001}


@dataclass(frozen=True)
class Job:
    """What every trial of a study shares; goes to the drivers through Ray's object store."""

    folders: Folders
    sink: RecordSink
    group: WorkerGroup
    board: ActorHandle
    storage: Path


def make_teachers(config: StudyConfig) -> None:
    """Trains and evaluates the teachers that are not there, side by side, one worker each."""
    missing = missing_teachers(config)
    if not missing:
        return
    board = make_board()
    cluster, steps = config.cluster, missing[0].train.steps
    task = ray.remote(num_cpus=cluster.cpus_per_worker, num_gpus=cluster.gpus_per_worker, max_retries=3)(_make_teacher)
    widest_first = sorted(missing, key=lambda teacher: -count(teacher.model, image_shape(config.data)).macs)
    with bar(board, partial(_describe_teachers, len(missing)), total=steps * len(missing), unit="step"):
        pending = [
            task.remote(
                teacher, config.evaluation, folders(config.study_dir), cluster, reporter(board, teacher.teacher_id)
            )
            for teacher in widest_first
        ]
        ray.get(pending)


def missing_teachers(config: StudyConfig) -> list[TeacherSpec]:
    found = folders(config.study_dir)
    return [teacher for teacher in config.teachers if find_teacher(teacher, config.evaluation, found) is None]


def make_job(config: StudyConfig, phase: str) -> Job:
    """The job of a study whose teachers are there."""
    found = folders(config.study_dir)
    teachers = {spec.teacher_id: _found(spec, config.evaluation, found) for spec in config.teachers}
    sink = RecordSink(
        study_dir=config.study_dir.absolute(),
        study=config.study,
        phase=phase,
        collapse_fid=config.collapse_fid,
        student=count(config.student, image_shape(config.data)),
        teachers=teachers,
    )
    return Job(found, sink, worker_group(config.cluster), make_board(), checkpoints_dir(config.study_dir))


def worker_group(cluster: ClusterConfig) -> WorkerGroup:
    return WorkerGroup(cluster.num_workers, cluster.cpus_per_worker, cluster.gpus_per_worker)


def run_packs(job: Job, packs: Sequence[Pack], cluster: Cluster) -> None:
    """Runs the packs, as many at once as the cluster holds. Raises RuntimeError when one fails for good."""
    total = sum(len(pack.members) * pack.members[0].train.steps for pack in packs)
    with bar(job.board, partial(describe_packs, packs, job.sink.study_dir), total=total, unit="step"):
        run_trials(job, cluster, param_space={"pack": tune.grid_search(list(packs))})
    if all(member.run_id in finished_run_ids(job.sink.study_dir) for pack in packs for member in pack.members):
        shutil.rmtree(job.storage, ignore_errors=True)


def run_trials(job: Job, cluster: Cluster, **tuner: Any) -> None:
    """Runs one Tune trial for every pack that param_space lists or search_alg suggests, under the config key `pack`."""
    trainable = tune.with_resources(tune.with_parameters(_run_trial, job=job), _DRIVER_RESOURCES)
    tune_config = tune.TuneConfig(
        num_samples=tuner.pop("num_samples", 1),
        search_alg=tuner.pop("search_alg", None),
        metric=tuner.pop("metric", None),
        mode=tuner.pop("mode", None),
        max_concurrent_trials=cluster.num_slots,
        reuse_actors=True,
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
    )
    run_config = tune.RunConfig(name="tune", storage_path=str(job.storage), verbose=0)
    results = tune.Tuner(trainable, tune_config=tune_config, run_config=run_config, **tuner).fit()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} of {len(results)} packs failed; the first: {results.errors[0]}")


def _trial_name(trial: Any) -> str:
    pack: Pack | None = trial.config.get("pack")
    return pack.pack_id if isinstance(pack, Pack) else trial.trial_id


def _run_trial(config: dict[str, Any], job: Job) -> dict[str, Any]:
    pack: Pack = config["pack"]
    run_pack_job(pack.members, job, name=pack.pack_id)
    return {"num_members": len(pack.members)}


def run_pack_job(members: Sequence[Member], job: Job, *, name: str) -> None:
    """Runs one pack's members on a worker group of their own; their rows are written when it returns."""
    threads = max(1, int(job.group.cpus_per_worker))
    pack_job = PackJob(members, job.folders, job.sink, reporter(job.board, name), threads)
    fit_pack(pack_job, job.group, name=name, storage=job.storage)


def _make_teacher(
    spec: TeacherSpec, evaluation: EvaluationSpec, where: Folders, cluster: ClusterConfig, report: Any
) -> None:
    import torch

    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    device = "cuda" if cluster.gpus_per_worker > 0 else "cpu"
    make_teacher(spec, evaluation, where, device=device, progress=Progress(report))


def _found(spec: TeacherSpec, evaluation: EvaluationSpec, where: Folders) -> Teacher:
    teacher = find_teacher(spec, evaluation, where)
    if teacher is None:
        raise RuntimeError(f"teacher {spec.name} is not in {where.teachers}")
    return teacher


def _describe_teachers(num_teachers: int, steps: dict[str, int]) -> tuple[int, str]:
    return sum(steps.values()), f"teachers {num_teachers}"


__all__ = ["Job", "Size", "make_job", "make_teachers", "missing_teachers", "run_pack_job", "run_packs", "run_trials"]

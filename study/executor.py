"""Packs -> Ray Tune trials -> rows. One Tune trial = one TorchTrainer = the packs that its workers train in turn."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle

from study.cluster import Cluster
from study.config import ClusterConfig, StudyConfig
from study.failure import MemberFailedError
from study.layout import checkpoints_dir, folders, ray_dir
from study.places import freeing_places
from study.plan import Pack, shares
from study.progress import bar, describe_packs, make_board, report
from study.searcher import PackSearcher, PackSource, PlannedPacks
from study.sink import RecordSink
from study.trial import NO_LIMIT, Launch, Trial, WorkerGroup, run_trial
from trainables.data import image_shape
from trainables.models import count
from trainables.pack import Folders, Progress
from trainables.ray_train import PackJob
from trainables.resume import Checkpoints
from trainables.specs import EvaluationSpec, Member, TeacherSpec, content_id
from trainables.teachers import Teacher, find_teacher, make_teacher

# Tune's driver of a trial only waits: it takes no CPU from the workers, and runs beside the head.
_DRIVER_RESOURCES = {"CPU": 0, "node:__internal_head__": 0.001}
_GROUP_SECONDS = 600.0  # of work for one worker group: its start is 2% of it; between two the cluster may change


@dataclass(frozen=True)
class Job:
    """A study whose teachers are there, ready to run packs."""

    study_dir: Path
    launch: Launch
    board: ActorHandle


def make_teachers(config: StudyConfig) -> None:
    """Trains and evaluates the teachers that are not there, side by side, one worker each."""
    missing = missing_teachers(config)
    if not missing:
        return
    board = make_board()
    cluster, steps = config.cluster, missing[0].train.steps
    task = ray.remote(num_cpus=cluster.cpus_per_worker, num_gpus=cluster.gpus_per_worker, max_retries=NO_LIMIT)(
        _make_teacher
    )
    widest_first = sorted(missing, key=lambda teacher: -count(teacher.model, image_shape(config.data)).macs)
    with bar(board, partial(_describe_teachers, len(missing)), total=steps * len(missing), unit="step"):
        pending = [
            task.remote(
                teacher,
                config.evaluation,
                folders(config.study_dir),
                cluster=cluster,
                checkpoints=Checkpoints(
                    checkpoints_dir(config.study_dir) / teacher.teacher_id, config.checkpoint_every_steps
                ),
                report=partial(report, board, teacher.teacher_id),
            )
            for teacher in widest_first
        ]
        ray.get(pending)


def missing_teachers(config: StudyConfig) -> list[TeacherSpec]:
    found = folders(config.study_dir)
    return [teacher for teacher in config.teachers if find_teacher(teacher, config.evaluation, found) is None]


def make_sink(config: StudyConfig, phase: str, phases: Mapping[str, str] | None = None) -> RecordSink:
    """The record sink of a study whose teachers are there. phases: by run_id, where they are not `phase`."""
    found = folders(config.study_dir)
    return RecordSink(
        study_dir=config.study_dir.absolute(),
        study=config.study,
        phase=phase,
        phases=phases or {},
        collapse_fid=config.collapse_fid,
        student=count(config.student, image_shape(config.data)),
        teachers={spec.teacher_id: _found(spec, config.evaluation, found) for spec in config.teachers},
    )


def make_job(config: StudyConfig, phase: str, phases: Mapping[str, str] | None = None) -> Job:
    """The job of a study whose teachers are there. phases: as in make_sink."""
    cluster, board = config.cluster, make_board()
    job = PackJob(
        folders(config.study_dir),
        make_sink(config, phase, phases),
        partial(report, board),
        threads=max(1, int(cluster.cpus_per_worker)),
        checkpoints=checkpoints_dir(config.study_dir),
        checkpoint_every_steps=config.checkpoint_every_steps,
    )
    group = WorkerGroup(cluster.num_workers, cluster.cpus_per_worker, cluster.gpus_per_worker)
    return Job(config.study_dir, Launch(ray.put(job), group, str(ray_dir(config.study_dir))), board)


def run_packs(job: Job, packs: Sequence[Pack], cluster: Cluster, seconds: Callable[[Pack], float]) -> None:
    """Runs the packs, as many at once as the cluster holds; `seconds` is what each is expected to take.

    A worker group trains several packs in turn, so that its processes are started once for about ten minutes of work.
    Raises MemberFailedError when a member fails for good.
    """
    total = sum(len(pack.members) * pack.members[0].train.steps for pack in packs)
    num_rounds = math.ceil(sum(map(seconds, packs)) / cluster.num_slots / _GROUP_SECONDS)
    planned = shares(packs, cluster.num_slots * num_rounds, seconds)
    with bar(job.board, partial(describe_packs, packs, job.study_dir), total=total, unit="step"):
        run_trials(job, PlannedPacks(planned), cluster)


def run_trials(job: Job, source: PackSource, cluster: Cluster) -> None:
    """Runs one Tune trial for every share of packs of the source, until it is exhausted.

    A lost driver is replaced without limit. The first trial that failed stops the others: raises MemberFailedError, or
    RuntimeError where no member is to blame.
    """
    members: dict[str, Member] = {}

    def make_trial(packs: Sequence[Pack]) -> Trial:
        members.update({member.run_id: member for pack in packs for member in pack.members})
        return _make_trial(packs)

    tune_config = tune.TuneConfig(
        num_samples=-1,
        search_alg=PackSearcher(source, make_trial),
        max_concurrent_trials=cluster.num_slots,
        reuse_actors=True,
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
    )
    run_config = tune.RunConfig(
        name="tune",
        storage_path=job.launch.storage,
        verbose=0,
        stop=_StopAtFailure(),
        failure_config=tune.FailureConfig(max_failures=NO_LIMIT),
    )
    trainable = tune.with_resources(tune.with_parameters(run_trial, launch=job.launch), _DRIVER_RESOURCES)
    with freeing_places(), redirect_stdout(io.StringIO()):  # Tune announces itself whatever its verbosity
        results = tune.Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()
    for failed in (result.metrics for result in results if result.metrics and result.metrics.get("error")):
        if failed["run_id"] is None:
            raise RuntimeError(failed["error"])
        raise MemberFailedError(members[failed["run_id"]], failed["error"])


class _StopAtFailure(tune.Stopper):  # type: ignore[misc]
    """Ends all trials when one of them has returned an error."""

    def __init__(self) -> None:
        self._failed = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._failed |= bool(result.get("error"))
        return False

    def stop_all(self) -> bool:
        return self._failed


def _make_trial(packs: Sequence[Pack]) -> Trial:
    name = content_id({"packs": [pack.pack_id for pack in packs]})
    return Trial(name, ray.put([(pack.pack_id, list(pack.members)) for pack in packs]))


def _trial_name(trial: Any) -> str:
    return str(trial.config["trial"].name)


def _make_teacher(
    spec: TeacherSpec,
    evaluation: EvaluationSpec,
    where: Folders,
    *,
    cluster: ClusterConfig,
    checkpoints: Checkpoints,
    report: Callable[[int], None],
) -> None:
    import torch

    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    device = "cuda" if cluster.gpus_per_worker > 0 else "cpu"
    make_teacher(spec, evaluation, where, device=device, progress=Progress(report), checkpoints=checkpoints)


def _found(spec: TeacherSpec, evaluation: EvaluationSpec, where: Folders) -> Teacher:
    teacher = find_teacher(spec, evaluation, where)
    if teacher is None:
        raise RuntimeError(f"teacher {spec.name} is not in {where.teachers}")
    return teacher


def _describe_teachers(num_teachers: int, steps: dict[str, int]) -> tuple[int, str]:
    return sum(steps.values()), f"teachers {num_teachers}"

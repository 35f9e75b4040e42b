"""Packs -> Ray Tune trials -> rows. One Tune trial = one TorchTrainer = the packs that its workers train in turn."""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune.execution import class_cache

from analysis.records.rows import read_runs
from study.config.study import StudyConfig
from study.costs.measured import Costs
from study.directory.layout import checkpoints_dir, folders, ray_storage
from study.execution.cluster import Cluster
from study.execution.failure import MemberFailedError
from study.execution.launch import NO_LIMIT, Launch, Trial, WorkerGroup
from study.execution.pack_source import PackSearcher, PackSource, PlannedPacks, WithinBudget
from study.execution.placement_groups import freeing_places
from study.execution.record_sink import RecordSink
from study.execution.schedule import schedule, waves
from study.execution.teachers import TeacherTasks
from study.execution.trial import run_trial
from study.planning.members import Pack
from study.watching.events import EventLog, log_dir
from study.watching.progress_bar import bar, describe_packs
from study.watching.prometheus import PackMetrics
from study.watching.step_counter import make_board, report
from study.watching.study_metrics import Census
from trainables.data import data_shape
from trainables.models.students import student_size
from trainables.ray_train import PackJob
from trainables.specs import Member, content_id

_DRIVER_MEMORY = 0.5e9  # bytes, of a driver and its controller
_DRIVERS_BESIDE_THE_HEAD = 32  # fit its memory; what they ask for is there for 1,000
# Tune would copy credentials into runtime environments, which Ray logs. Nodes have their own in their environment.
class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}


@dataclass(frozen=True)
class Job:
    """A study that is ready to run packs."""

    study_dir: Path
    launch: Launch
    board: ActorHandle
    census: Census
    max_device_hours: float | None = None


class BudgetSpentError(RuntimeError):
    """The study's device-hours are used up before its members are there."""


def make_sink(config: StudyConfig, phase: str, phases: Mapping[str, str] | None = None) -> RecordSink:
    """The record sink of a study. phases: by run_id, where they are not `phase`."""
    return RecordSink(
        study_dir=config.study_dir.absolute(),
        study=config.study,
        phase=phase,
        phases=phases or {},
        student=student_size(config.student, data_shape(config.data), folders(config.study_dir).initial),
        folders=folders(config.study_dir),
    )


def make_job(
    config: StudyConfig, phase: str, phases: Mapping[str, str] | None = None, *, spans_nodes: bool = False
) -> Job:
    """The job of a study. phases: as in make_sink. spans_nodes: a pack fits no node, so that it must be divided."""
    cluster, board = config.cluster, make_board()
    logs = log_dir(config.study_dir.absolute())
    job = PackJob(
        folders(config.study_dir),
        make_sink(config, phase, phases),
        partial(report, board),
        threads=max(1, int(cluster.cpus_per_worker)),
        checkpoints=checkpoints_dir(config.study_dir),
        checkpoint_every_steps=config.checkpoint_every_steps,
        watch=PackMetrics(config.study),
        log=EventLog(logs, "worker"),
    )
    asks = (cluster.num_workers, cluster.cpus_per_worker, cluster.gpus_per_worker, cluster.memory_gb_per_worker)
    group = WorkerGroup(*asks, placement_strategy="PACK" if spans_nodes else "STRICT_PACK")
    census = Census(config.study, config.study_dir, board, config.report.collapse_fid)
    launch = Launch(ray.put(job), group, ray_storage(config.study_dir), EventLog(logs, "controller"))
    return Job(config.study_dir, launch, board, census, config.max_device_hours)


def run_packs(
    job: Job,
    packs: Sequence[Pack],
    cluster: Cluster,
    costs: Costs,
    teachers: TeacherTasks | None = None,
    *,
    first: Sequence[str] = (),
) -> None:
    """Runs the packs, as many at once as the cluster holds; those of the teachers named in `first` before the others.

    A worker group trains several packs in turn, so that its processes are started once for about ten minutes of work.
    Those whose teacher is still in the making come last, and wait for it. Raises MemberFailedError when a member fails
    for good, and what made a teacher fail.
    """
    missing = teachers.specs if teachers else []
    planned = [one for wave in waves(packs, first) for one in schedule(wave, missing, cluster.num_slots, costs)]
    total = sum(len(pack.members) * pack.members[0].train.steps for pack in packs)
    total += sum(spec.num_steps for spec in teachers.specs) if teachers else 0
    with bar(job.board, partial(describe_packs, packs, teachers, job.study_dir), total=total, unit="step"):
        run_trials(job, PlannedPacks(planned, cluster.live_slots, teachers), cluster)
        if teachers is not None:
            teachers.wait()


def run_trials(
    job: Job,
    source: PackSource,
    cluster: Cluster,
    *,
    trainable: Callable[..., dict[str, Any]] = run_trial,
    resources: Mapping[str, float] | None = None,
) -> None:
    """Runs one Tune trial for every share of packs of the source, until it is exhausted or the budget is spent.

    trainable: what a trial runs; it is given the trial and the job's launch. resources: of a trial's own process, which
    only waits by default.
    A lost driver is replaced without limit. The first trial that failed stops the others: raises MemberFailedError, or
    RuntimeError where no member is to blame, BudgetSpentError where packs are left.
    """
    if job.max_device_hours is not None:
        source = WithinBudget(source, partial(device_hours, job.study_dir), job.max_device_hours)
    members: dict[str, Member] = {}

    def make_trial(packs: Sequence[Pack]) -> Trial:
        members.update({member.run_id: member for pack in packs for member in pack.members})
        job.census.plan(packs)
        return _make_trial(packs)

    tune_config = tune.TuneConfig(
        num_samples=-1,
        search_alg=PackSearcher(source, make_trial, cluster.live_slots),  # it says how many run at once
        reuse_actors=True,
        trial_name_creator=_name_of,
        trial_dirname_creator=_name_of,
    )
    run_config = tune.RunConfig(
        name="tune",
        **job.launch.storage,
        verbose=0,
        stop=_StopAtFailure(),
        failure_config=tune.FailureConfig(max_failures=NO_LIMIT),
    )
    with_launch = tune.with_resources(
        tune.with_parameters(trainable, launch=job.launch), dict(resources or driver_resources(cluster.num_slots))
    )
    # Tune announces itself whatever its verbosity.
    with freeing_places(), job.census.shown(source), redirect_stdout(io.StringIO()):
        results = tune.Tuner(with_launch, tune_config=tune_config, run_config=run_config).fit()
    for failed in (result.metrics for result in results if result.metrics and result.metrics.get("error")):
        if failed["run_id"] is None:
            raise RuntimeError(failed["error"])
        raise MemberFailedError(members[failed["run_id"]], failed["error"])
    if isinstance(source, WithinBudget) and source.over and source.waiting:
        raise BudgetSpentError(
            f"max_device_hours={job.max_device_hours:g} is spent ({device_hours(job.study_dir):.3g} device-hours are in"
            " the records); nothing more was begun"
        )


def driver_resources(num_slots: int) -> dict[str, float]:
    """What Tune's driver of a trial asks for. It only waits: it takes no CPU from the workers.

    It runs beside the head, where it is not lost with a node that works; of many it is anywhere with room for it.
    """
    where = {"node:__internal_head__": 0.001} if num_slots <= _DRIVERS_BESIDE_THE_HEAD else {"memory": _DRIVER_MEMORY}
    return {"CPU": 0, **where}


def device_hours(study_dir: Path) -> float:
    """Of all members that have a row."""
    seconds: list[float] = read_runs(study_dir).column("device_seconds").to_pylist()
    return sum(seconds) / 3600


class _StopAtFailure(tune.Stopper):  # type: ignore[misc]
    """Ends all trials when one of them has returned an error."""

    def __init__(self) -> None:
        self._failed = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._failed |= bool(result.get("error"))
        return False

    def stop_all(self) -> bool:
        return self._failed


def trial_name(packs: Sequence[Pack]) -> str:
    """The name of the trial that runs these packs."""
    return content_id({"packs": [pack.pack_id for pack in packs]})


def _make_trial(packs: Sequence[Pack]) -> Trial:
    return Trial(trial_name(packs), ray.put([(pack.pack_id, list(pack.members)) for pack in packs]))


def _name_of(trial: Any) -> str:
    return str(trial.config["trial"].name)

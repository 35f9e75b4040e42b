"""Packs -> Ray Tune trials -> rows. One Tune trial = one TorchTrainer = the packs that its workers train in turn."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from analysis.records.rows import finished_run_ids
from study.config.study import StudyConfig
from study.costs.model import Costs, devices_per_worker
from study.costs.spent import model_device_seconds
from study.directory.layout import checkpoints_dir, folders, ray_storage
from study.execution import ray_internals
from study.execution.cluster import Cluster, worker_group
from study.execution.failure import MemberFailedError
from study.execution.launch import NO_LIMIT, Launch, Trial
from study.execution.lost import LostDrivers, member_lost, work_of
from study.execution.pack_source import PackSearcher, PackSource, PlannedPacks, Prerequisites, WithinBudget
from study.execution.placement_groups import freed_placement_groups
from study.execution.record_sink import RecordSink
from study.execution.schedule import schedule, waves
from study.execution.teachers import TeacherTasks
from study.execution.trial import run_trial
from study.planning.members import Pack
from study.watching.events import EventLog, log_dir
from study.watching.progress import ProgressFiles
from study.watching.progress_bar import bar, describe_packs
from study.watching.prometheus import PackMetrics
from study.watching.study_count import StudyCount
from study.watching.study_metrics import StudyMetrics
from trainables.ray_train import PackJob
from trainables.specs import TeacherSpec, content_id

_DRIVER_MEMORY = 0.5e9  # bytes, of a driver and its controller
_DRIVERS_BESIDE_THE_HEAD = 32  # fit its memory; what they ask for exists 1,000 times
ray_internals.keep_credentials_out_of_tune()


class BudgetSpentError(RuntimeError):
    """The study's device-hours are used up before its members are finished."""


def make_sink(config: StudyConfig, phase: str, phases: Mapping[str, str] | None = None) -> RecordSink:
    """The record sink of a study. phases: by run_id, where they are not `phase`."""
    return RecordSink(
        study_dir=config.study_dir.absolute(),
        study=config.study,
        phase=phase,
        phases=phases or {},
        folders=folders(config.study_dir),
        devices_per_worker=devices_per_worker(config.cluster),
    )


def make_launch(
    config: StudyConfig, phase: str, phases: Mapping[str, str] | None = None, *, spans_nodes: bool = False
) -> Launch:
    """What all trials of a study share; needs Ray. phases: as in make_sink. spans_nodes: a pack fits no single node."""
    group, logs = worker_group(config.cluster, spans_nodes=spans_nodes), log_dir(config.study_dir.absolute())
    progress = ProgressFiles(checkpoints_dir(config.study_dir))
    job = PackJob(
        folders(config.study_dir),
        make_sink(config, phase, phases),
        progress,
        progress_seconds=progress.interval_seconds,
        threads=group.threads,
        checkpoints=checkpoints_dir(config.study_dir),
        checkpoint_seconds=config.checkpoint_seconds,
        execution=config.execution,
        gpu_part=min(1.0, devices_per_worker(config.cluster)),
        watch=PackMetrics(config.study),
        finished=partial(finished_run_ids, config.study_dir.absolute()),
        log=EventLog(logs, "worker"),
    )
    return Launch(
        ray.put(job),
        group,
        ray_storage(config.study_dir),
        log=EventLog(logs, "controller"),
        study_dir=config.study_dir.absolute(),
    )


def run_packs(
    config: StudyConfig,
    launch: Launch,
    packs: Sequence[Pack],
    cluster: Cluster,
    costs: Costs,
    *,
    missing: Sequence[TeacherSpec] = (),
) -> None:
    """Runs the packs, as many at once as the cluster holds; those of config.teachers_first before the others.

    A worker group trains several packs in turn, so that its processes are started once for about ten minutes of work.
    Missing teachers are made meanwhile; packs that need one come last, and wait for it. Raises MemberFailedError when a
    member fails for good, and what made a teacher fail.
    """
    teachers = TeacherTasks(config, missing)
    planned = [
        one
        for wave in waves(packs, config.teachers_first)
        for one in schedule(wave, teachers.specs, cluster.num_slots, costs)
    ]
    total = sum(len(pack.members) * pack.members[0].train.steps for pack in packs)
    total += sum(spec.num_steps for spec in teachers.specs)
    count = StudyCount(config.study_dir, collapse_fid=config.report.collapse_fid)
    count.plan(member for pack in packs for member in pack.members)
    metrics = StudyMetrics(config.study, count, lambda: packs)
    seconds = costs.total_seconds(packs, teachers.specs, cluster.num_slots)
    describe = partial(describe_packs, packs, teachers)
    with bar(count, describe, total=total, seconds=seconds, show=metrics.show):
        run_trials(config, launch, PlannedPacks(planned), cluster, needed=teachers)
        teachers.wait()


def run_trials(
    config: StudyConfig,
    launch: Launch,
    source: PackSource,
    cluster: Cluster,
    *,
    needed: Prerequisites | None = None,
    begun: Callable[[Sequence[Pack]], None] = lambda _packs: None,
    trainable: Callable[..., dict[str, Any]] = run_trial,
    resources: Mapping[str, float] | None = None,
) -> None:
    """Runs one Tune trial for every share of packs of the source, until it is exhausted or the budget is spent.

    begun(packs) is called when a trial is made of them. trainable: what a trial runs; it is given the trial and the
    launch. resources: of a trial's own process, which only waits by default. A lost driver is replaced, without limit
    where its packs get on.
    The first trial that failed stops the others: raises MemberFailedError, or RuntimeError where no member is to blame,
    BudgetSpentError where packs are left.
    """
    spent = partial(device_hours, StudyCount(config.study_dir))
    if config.max_device_hours is not None:
        source = WithinBudget(source, spent, config.max_device_hours)
    known: dict[str, Pack] = {}  # by pack_id
    lost_drivers = LostDrivers(config.study_dir)

    def make_trial(packs: Sequence[Pack]) -> Trial:
        known.update({pack.pack_id: pack for pack in packs})
        begun(packs)
        content = ray.put([(pack.pack_id, list(pack.members)) for pack in packs])
        return Trial(trial_name(packs), content, [work_of(pack) for pack in packs])

    searcher = PackSearcher(source, make_trial, cluster.live_slots, needed)
    trials = tune.with_resources(
        tune.with_parameters(trainable, launch=launch), dict(resources or driver_resources(cluster.num_slots))
    )
    # Tune announces itself whatever its verbosity, and logs a traceback of every driver and folder that is lost.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with freed_placement_groups(config.study_dir), redirect_stdout(io.StringIO()):
        results = _tuner(trials, searcher, launch, lost_drivers, needed).fit()
    if lost_drivers.last is not None:
        raise member_lost(config.study_dir, known[lost_drivers.last.name], lost_drivers.last.cause)
    _raise_failure(results, known, config.study_dir)
    if isinstance(source, WithinBudget) and source.over and source.waiting:
        raise BudgetSpentError(
            f"max_device_hours={config.max_device_hours:g} is spent ({spent():.3g} device-hours are used);"
            " nothing more was begun"
        )


def _tuner(
    trials: Any, searcher: PackSearcher, launch: Launch, lost_drivers: LostDrivers, needed: Prerequisites | None
) -> tune.Tuner:
    tune_config = tune.TuneConfig(
        num_samples=-1,
        search_alg=searcher,  # it says how many run at once
        reuse_actors=True,
        trial_name_creator=_name_of,
        trial_dirname_creator=_name_of,
    )
    run_config = tune.RunConfig(
        name="tune",
        **launch.storage,
        verbose=0,
        stop=_StopAtFailure(lost_drivers, needed),
        callbacks=[lost_drivers],
        failure_config=tune.FailureConfig(max_failures=NO_LIMIT),
    )
    return tune.Tuner(trials, tune_config=tune_config, run_config=run_config)


def _raise_failure(results: Any, packs: Mapping[str, Pack], study_dir: Path) -> None:
    members = {member.run_id: member for pack in packs.values() for member in pack.members}
    for failed in (result.metrics for result in results if result.metrics and result.metrics.get("error")):
        if failed.get("lost") is not None:
            raise member_lost(study_dir, packs[failed["lost"]], failed["error"])
        if failed["run_id"] is None:
            raise RuntimeError(failed["error"])
        raise MemberFailedError(members[failed["run_id"]], failed["error"])


def driver_resources(num_slots: int) -> dict[str, float]:
    """What Tune's driver of a trial asks for. It only waits: it takes no CPU from the workers.

    It runs beside the head, where it is not lost with a node that works; of many it is anywhere with room for it.
    """
    where = {"node:__internal_head__": 0.001} if num_slots <= _DRIVERS_BESIDE_THE_HEAD else {"memory": _DRIVER_MEMORY}
    return {"CPU": 0, **where}


def device_hours(count: StudyCount) -> float:
    """Of all members that have a row, and of making the teachers and the student that they start from."""
    count.refresh()
    of_members = sum(row["device_seconds"] or 0.0 for row in count.rows.values())
    return (of_members + model_device_seconds(count.study_dir)) / 3600


class _StopAtFailure(tune.Stopper):  # type: ignore[misc]
    """Ends all trials when one has returned an error or lost its driver too often, or a teacher will never exist."""

    def __init__(self, lost_drivers: LostDrivers, needed: Prerequisites | None) -> None:
        self._failed, self._lost_drivers, self._needed = False, lost_drivers, needed

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._failed |= bool(result.get("error"))
        return False

    def stop_all(self) -> bool:
        waits_for_ever = self._needed is not None and self._needed.failed
        return self._failed or self._lost_drivers.last is not None or waits_for_ever


def trial_name(packs: Sequence[Pack]) -> str:
    """The name of the trial that runs these packs."""
    return content_id({"packs": [pack.pack_id for pack in packs]})


def _name_of(trial: Any) -> str:
    return str(trial.config["trial"].name)

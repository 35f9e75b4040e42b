"""One study from its config to its report."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace

from omegaconf import DictConfig

from analysis.records.rows import finished_run_ids
from analysis.report.write import write_report
from study.config.parse import study_config, write_study_yaml
from study.config.study import StudyConfig
from study.costs.disk import estimate_disk, require_disk
from study.costs.dry_run import describe
from study.costs.measured import describe_seconds, measure_costs, most_members
from study.directory.claim import require_claimable
from study.directory.layout import folders, report_dir
from study.directory.lease import lease
from study.directory.repair import describe_missing, is_damaged, remove_orphans, set_aside_damaged
from study.execution.cluster import Cluster, connected, require_outlives_job
from study.execution.failure import MemberFailedError, describe_failure
from study.execution.record_sink import code_version
from study.execution.run_packs import make_job, run_packs
from study.execution.run_search import run_tuning
from study.execution.teachers import TeacherTasks, make_initial_student, make_teachers, missing_teachers
from study.loggers import exporting
from study.planning.arms import planned_packs
from study.planning.members import plan_members, plan_packs, unfinished
from study.search.replay import describe_tuning, tuning_is_finished
from study.watching.events import logged_sweep
from trainables.models.students import is_made
from trainables.specs import Member


def run_study(cfg: DictConfig, command: str) -> int:
    """Runs what is missing of the study and reports.

    Raises ValueError before anything is started, RuntimeError when a member fails for good.
    """
    config = study_config(cfg)
    if cfg.dry_run:
        print(f"{_describe_plan(config)}\n{describe(config)}")
        return 0
    require_outlives_job(config.study_dir, config.cluster.address)
    require_claimable(config.study_dir)
    damaged = is_damaged(config.study_dir)
    if damaged or not _is_finished(config):
        with lease(config.study_dir):
            if not damaged:
                _require_room(config)
            with connected(config.cluster) as cluster:
                set_aside_damaged(config.study_dir)  # not before every check has passed
                remove_orphans(config.study_dir)
                with exporting(config.loggers, config.study, config.study_dir):
                    _run_missing(cfg, config, command, cluster)
            remove_orphans(config.study_dir)
    else:
        print(_describe_plan(config))
        with suppress(ValueError), lease(config.study_dir):  # beside a sweep: nothing is in the way of a report
            remove_orphans(config.study_dir)
            with exporting(config.loggers, config.study, config.study_dir):
                pass
    for line in describe_missing(config.study_dir):
        print(line, file=sys.stderr)
    report = write_report([config.study_dir], report_dir(config.study_dir), command=command)
    print(report.text)
    print(f"report: {report.index}")
    return 0


def _run_missing(cfg: DictConfig, config: StudyConfig, command: str, cluster: Cluster) -> None:
    print(_describe_plan(config))
    if _is_finished(config):
        write_study_yaml(cfg, config.study_dir)
        return
    try:
        _run(cfg, config, plan_members(config) if config.tuning is None else [], cluster)
    except MemberFailedError as error:
        raise RuntimeError(describe_failure(error, config, command)) from error


def _is_finished(config: StudyConfig) -> bool:
    if config.tuning is not None:
        return tuning_is_finished(config)
    return {member.run_id for member in plan_members(config)} <= finished_run_ids(config.study_dir)


def _describe_plan(config: StudyConfig) -> str:
    start = f"study {config.study} in {config.study_dir}:"
    if config.tuning is not None:
        return f"{start} {describe_tuning(config)}"
    planned = {member.run_id for member in plan_members(config)}
    num_missing = len(planned - finished_run_ids(config.study_dir))
    return (
        f"{start} {len(planned)} members"
        f" ({len(config.teachers)} teachers, {len(config.methods)} methods, {len(config.seeds)} seeds),"
        f" {len(planned) - num_missing} finished, {num_missing} to run"
    )


def _require_room(config: StudyConfig) -> None:
    """Raises ValueError, before a cluster is started, when the disk has no room for what is missing."""
    planned = plan_members(config) if config.tuning is None else []
    packs = unfinished(plan_packs(planned, config.max_members), finished_run_ids(config.study_dir))
    like = packs if config.tuning is None else planned_packs(config)
    require_disk(config.study_dir, estimate_disk(config, missing_teachers(config), like, num_slots=0))


def _run(cfg: DictConfig, config: StudyConfig, planned: list[Member], cluster: Cluster) -> None:
    finished, missing = finished_run_ids(config.study_dir), missing_teachers(config)
    if config.max_members is None:
        config = replace(config, max_members=most_members(config, cluster.worker_memory_bytes))
    packs = unfinished(plan_packs(planned, config.max_members), finished)
    like = packs if config.tuning is None else planned_packs(config)  # what the costs are like
    print(f"cluster: {config.cluster.address}, {cluster.num_slots} packs at once; dashboard: {cluster.dashboard_url}")
    costs = measure_costs(config)
    seconds = costs.total_seconds(like, missing, cluster.num_slots)
    disk = estimate_disk(config, missing, like, cluster.num_slots)
    print(f"to do: {len(missing)} teachers, {len(like)} packs; about {describe_seconds(seconds)}, {disk}")
    require_disk(config.study_dir, disk)
    write_study_yaml(cfg, config.study_dir)  # not before: where the cluster is refused, nothing is written
    with logged_sweep(
        config.study_dir, study=config.study, finished=len(finished), packs=len(like), code_version=code_version()
    ):
        if not is_made(config.student, folders(config.study_dir).initial):
            make_initial_student(config)
        if config.tuning is None:
            job = make_job(config, "grid", spans_nodes=cluster.spans_nodes)
            run_packs(job, packs, cluster, costs, TeacherTasks(config, job.board), first=config.teachers_first)
        else:
            make_teachers(config)
            run_tuning(config, cluster, costs)

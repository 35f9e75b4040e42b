"""One study from its config to its report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from omegaconf import DictConfig

from analysis.records.rows import finished_run_ids
from analysis.report.write import write_report
from study.config.parse import study_config, write_study_yaml
from study.config.study import StudyConfig
from study.costs.disk import estimate_disk, require_disk
from study.costs.dry_run import describe
from study.costs.memory import most_members
from study.costs.model import Costs, Counts, describe_seconds
from study.costs.throughput import find_throughput
from study.directory.layout import report_dir
from study.directory.lease import lease
from study.directory.repair import is_damaged, remove_orphans, set_aside_damaged
from study.execution.cluster import connected, require_outlives_job
from study.execution.failure import MemberFailedError, describe_failure
from study.execution.machine import require_machine
from study.execution.placement_groups import this_job
from study.execution.record_sink import code_version
from study.execution.run_packs import make_launch, run_packs
from study.execution.run_search import run_tuning
from study.execution.teachers import missing_teachers
from study.loggers import exporting
from study.planning.arms import planned_packs
from study.planning.members import Pack, plan_members, plan_packs, unfinished
from study.search.replay import describe_tuning, replay, tuning_is_finished
from study.watching.events import logged_sweep
from trainables.data.planned import Planned
from trainables.specs import Member


def run_study(cfg: DictConfig, command: str) -> int:
    """Runs what is missing of the study and reports.

    Raises ValueError before anything is started, RuntimeError when a member fails for good.
    """
    config = study_config(cfg)
    if cfg.dry_run:
        print(f"{_describe_plan(config)}\n{describe(config)}{_wanted_data(config)}")
        return 0
    require_machine(config.cluster.address)
    require_outlives_job(config.study_dir, config.cluster.address)
    if is_damaged(config.study_dir) or not _is_finished(config):
        with lease(config.study_dir):
            set_aside_damaged(config.study_dir)
            remove_orphans(config.study_dir)
            with exporting(config.loggers, config.study, config.study_dir):
                _run_missing(cfg, config, command)
            remove_orphans(config.study_dir)
    else:
        print(_describe_plan(config))
        with suppress(ValueError), lease(config.study_dir):  # beside a sweep: nothing is in the way of a report
            remove_orphans(config.study_dir)
            with exporting(config.loggers, config.study, config.study_dir):
                pass
    report = write_report([config.study_dir], report_dir(config.study_dir), command=command)
    print(report.text)
    print(f"report: {report.index}")
    return 0


def _wanted_data(config: StudyConfig) -> str:
    """A line about data that is not there yet."""
    return f"\n{config.data}" if isinstance(config.data, Planned) else ""


def _run_missing(cfg: DictConfig, config: StudyConfig, command: str) -> None:
    print(_describe_plan(config))
    if _is_finished(config):
        write_study_yaml(cfg, config.study_dir)
        return
    try:
        _run(cfg, config, plan_members(config) if config.tuning is None else [])
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


def _run(cfg: DictConfig, config: StudyConfig, planned: list[Member]) -> None:
    finished = finished_run_ids(config.study_dir)

    def packs_of(config: StudyConfig) -> tuple[list[Pack], list[Pack]]:
        """What to run, and what the costs are like."""
        packs = unfinished(plan_packs(planned, config.max_members), finished)
        return packs, packs if config.tuning is None else planned_packs(config)

    missing, counts = missing_teachers(config), Counts.of(config)
    require_disk(config.study_dir, estimate_disk(config, missing, packs_of(config)[1], 0, counts))
    with connected(config.cluster) as cluster:
        if config.max_members is None:
            config = replace(config, max_members=most_members(config, counts, cluster.worker_memory_bytes))
        packs, like = packs_of(config)
        print(
            f"cluster: {config.cluster.address}, {cluster.num_slots} packs at once; dashboard: {cluster.dashboard_url}"
        )
        costs = Costs(config, counts, find_throughput(config.study_dir, config.cluster))
        seconds = costs.total_seconds(like, missing, cluster.num_slots)
        disk = estimate_disk(config, missing, like, cluster.num_slots, counts)
        print(
            f"to do: {len(missing)} teachers, {len(like)} packs; about {describe_seconds(seconds)}"
            f" (throughput {costs.throughput.source}), {disk}"
        )
        require_disk(config.study_dir, disk)
        write_study_yaml(cfg, config.study_dir)  # not before: where the cluster is refused, nothing is written
        facts = {"finished": len(finished), "packs": len(like), "code_version": code_version(), "job": this_job()}
        with logged_sweep(config.study_dir, study=config.study, **facts):
            if config.tuning is None:
                launch = make_launch(config, "grid", spans_nodes=cluster.spans_nodes)
                run_packs(config, launch, packs, cluster, costs, missing=missing)
            else:
                run_tuning(config, replay(config), cluster, costs, missing)

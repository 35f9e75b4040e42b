"""One study from its config to its report."""

from __future__ import annotations

from dataclasses import replace

from omegaconf import DictConfig

from analysis.records import finished_run_ids
from analysis.report import write_report
from study import plan
from study.cluster import connected
from study.config import StudyConfig
from study.damage import set_aside_damaged
from study.estimate import describe_seconds, estimate_disk, measure_costs, most_members, require_disk
from study.executor import make_job, make_teachers, missing_teachers, run_packs
from study.failure import MemberFailedError, describe_failure
from study.layout import report_dir
from study.lease import lease
from study.orphans import remove_orphans
from study.parse import study_config, write_study_yaml
from study.tuned import describe_tuning, planned_packs, run_tuning, tuning_is_finished
from trainables.specs import Member


def run_study(cfg: DictConfig, command: str) -> int:
    """Runs what is missing of the study and reports.

    Raises ValueError before anything is started, RuntimeError when a member fails for good.
    """
    config = study_config(cfg)
    with lease(config.study_dir):
        return _run_alone(cfg, config, command)


def _run_alone(cfg: DictConfig, config: StudyConfig, command: str) -> int:
    remove_orphans(config.study_dir)
    set_aside_damaged(config.study_dir)
    planned = plan.members(config) if config.tuning is None else []
    finished = finished_run_ids(config.study_dir)
    missing = [member for member in planned if member.run_id not in finished]
    print(f"study {config.study} in {config.study_dir}: {_describe_plan(config, len(planned), len(missing))}")
    if missing or (config.tuning is not None and not tuning_is_finished(config)):
        try:
            _run(cfg, config, planned, finished)
        except MemberFailedError as error:
            raise RuntimeError(describe_failure(error, config, command)) from error
        remove_orphans(config.study_dir)
    if not (config.study_dir / "study.yaml").exists():
        write_study_yaml(cfg, config.study_dir)
    report = write_report([config.study_dir], report_dir(config.study_dir), command=command)
    print(report.text)
    print(f"report: {report.index}")
    return 0


def _describe_plan(config: StudyConfig, num_planned: int, num_missing: int) -> str:
    if config.tuning is not None:
        return describe_tuning(config)
    return (
        f"{num_planned} members"
        f" ({len(config.teachers)} teachers, {len(config.methods)} methods, {len(config.seeds)} seeds),"
        f" {num_planned - num_missing} finished, {num_missing} to run"
    )


def _run(cfg: DictConfig, config: StudyConfig, planned: list[Member], finished: set[str]) -> None:
    with connected(config.cluster) as cluster:
        if config.max_members is None:
            config = replace(config, max_members=most_members(config, cluster.worker_memory_bytes))
        packs = plan.unfinished(plan.packs(planned, config.max_members), finished)
        print(
            f"cluster: {config.cluster.address}, {cluster.num_slots} packs at once; dashboard: {cluster.dashboard_url}"
        )
        missing, costs = missing_teachers(config), measure_costs(config)
        like = packs if config.tuning is None else planned_packs(config)
        seconds = costs.total_seconds(like, missing, cluster.num_slots)
        disk = estimate_disk(config, missing, like, cluster.num_slots)
        print(f"to do: {len(missing)} teachers, {len(like)} packs; about {describe_seconds(seconds)}, {disk}")
        require_disk(config.study_dir, disk)
        write_study_yaml(cfg, config.study_dir)
        make_teachers(config)
        if config.tuning is None:
            run_packs(make_job(config, "grid"), packs, cluster, costs.seconds)
        else:
            run_tuning(config, cluster, costs.seconds)

"""One study from its config to its report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from omegaconf import DictConfig

from analysis.records.rows import finished_run_ids
from analysis.report.write import write_report
from analysis.terminal import folded
from study.config.parse import study_config, write_study_yaml
from study.config.study import StudyConfig
from study.costs.disk import DiskNeed, estimate_disk, require_disk
from study.costs.dry_run import describe
from study.costs.memory import most_members
from study.costs.model import Costs, Counts, describe_seconds
from study.costs.throughput import find_throughput
from study.directory.claim import require_claimable
from study.directory.layout import report_dir
from study.directory.lease import lease
from study.directory.protocol import require_protocol
from study.directory.repair import damage, describe_missing, remove_orphans, set_aside_damaged
from study.execution.cluster import Cluster, connected, local_slots, require_outlives_job
from study.execution.failure import MemberFailedError, TeacherLostError, describe_failure, describe_teacher_loss
from study.execution.placement_groups import this_job
from study.execution.record_sink import code_version
from study.execution.run_packs import make_launch, run_packs
from study.execution.run_search import run_tuning
from study.execution.teachers import missing_teachers
from study.loggers import exporting
from study.planning.arms import planned_packs
from study.planning.members import Pack, plan_members, plan_packs, unfinished
from study.planning.plan_file import write_plan
from study.search.replay import describe_tuning, replay, unconfirmed, wanted_phases
from study.search.rounds import TeacherSearch
from study.watching.events import logged_sweep
from trainables.data.planned import Planned
from trainables.models.pretrained import require_fetchable
from trainables.specs import Member, TeacherSpec


def run_study(cfg: DictConfig, command: str) -> int:
    """Runs what is missing of the study and reports.

    Raises ValueError before anything is started, RuntimeError when a member fails for good.
    """
    config = study_config(cfg)
    planned = plan_members(config) if config.tuning is None else []
    require_outlives_job(config.study_dir, config.cluster.address)
    require_claimable(config.study_dir)
    if cfg.dry_run:
        if not isinstance(config.data, Planned):
            _require_own_protocol(config)
        print(folded(_describe_plan(config, planned, finished_run_ids(config.study_dir))))
        print(folded(describe(config, _slots_here(config))))
        if isinstance(config.data, Planned):
            print(folded(str(config.data)))
        return 0
    damaged = list(damage(config.study_dir))
    work = None if damaged else _Work.find(config, planned)
    if work is None or work.is_left:
        with lease(config.study_dir):
            _run_in_lease(cfg, config, planned, damaged, command)
            remove_orphans(config.study_dir)
    else:
        print(folded(_describe_plan(config, planned, work.finished)))
        with suppress(ValueError), lease(config.study_dir):  # beside a sweep: nothing is in the way of a report
            remove_orphans(config.study_dir)
            with exporting(config.loggers, config.study, config.study_dir):
                pass
        for line in describe_missing(config.study_dir):
            print(line)
    report = write_report(
        [config.study_dir], report_dir(config.study_dir), settings=config.report, command=command, sweep=command
    )
    print(folded(report.text))
    print(f"report: {report.index}")
    return 0


def _require_own_protocol(config: StudyConfig) -> None:
    """Raises ValueError where the rows of the directory were evaluated otherwise."""
    identity = {"data": config.data.identity(), "evaluation": config.evaluation.identity()}
    require_protocol(config.study_dir, identity)


def _slots_here(config: StudyConfig) -> int | None:
    """Packs at once on this machine; None where the study runs elsewhere, or this machine is too small for it."""
    try:
        return local_slots(config.cluster)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Work:
    """What the records hold and what is left, found once and handed on."""

    config: StudyConfig
    planned: Sequence[Member]  # of a grid
    searches: Sequence[TeacherSearch]  # of a search, replayed
    finished: set[str]  # run_ids

    @classmethod
    def find(cls, config: StudyConfig, planned: Sequence[Member]) -> _Work:
        """Raises ValueError where the rows were evaluated under another protocol."""
        _require_own_protocol(config)
        searches = replay(config) if config.tuning is not None else []
        return cls(config, planned, searches, finished_run_ids(config.study_dir))

    @property
    def is_left(self) -> bool:
        if self.config.tuning is None:
            return not {member.run_id for member in self.planned} <= self.finished
        searches = list(self.searches)
        return not all(search.done for search in searches) or bool(
            unconfirmed(self.config, wanted_phases(self.config, searches))
        )

    def packs(self, max_members: int | None) -> list[Pack]:
        """The packs of a grid that are left."""
        return unfinished(plan_packs(self.planned, max_members), self.finished)

    def like(self, max_members: int | None) -> list[Pack]:
        """Packs like those that are left: what the costs are estimated by."""
        return self.packs(max_members) if self.config.tuning is None else planned_packs(self.config)


def _run_in_lease(
    cfg: DictConfig,
    config: StudyConfig,
    planned: Sequence[Member],
    damaged: Sequence[tuple[object, str]],
    command: str,
) -> None:
    """Nothing in the study directory is moved or removed before every check has passed, the cluster's too."""
    missing, counts = missing_teachers(config), Counts.of(config)
    for spec in missing:
        require_fetchable(spec)
    work = None if damaged else _Work.find(config, planned)
    need = None
    if work is not None and (slots := local_slots(config.cluster)) is not None:  # known before Ray is started
        need = estimate_disk(config, missing, work.like(config.max_members), slots, counts)
        require_disk(config.study_dir, need)
    with connected(config.cluster, config.own_code) as cluster:
        if damaged:
            set_aside_damaged(config.study_dir)
            work, missing = _Work.find(config, planned), missing_teachers(config)
        assert work is not None
        remove_orphans(config.study_dir)
        print(folded(_describe_plan(config, planned, work.finished)))
        with exporting(config.loggers, config.study, config.study_dir):
            try:
                _run(cfg, work, cluster, command, missing=missing, counts=counts, need=need)
            except MemberFailedError as error:
                raise RuntimeError(describe_failure(error, config, command)) from error
            except TeacherLostError as error:
                raise RuntimeError(describe_teacher_loss(error, command)) from error


def _run(
    cfg: DictConfig,
    work: _Work,
    cluster: Cluster,
    command: str,
    *,
    missing: Sequence[TeacherSpec],
    counts: Counts,
    need: DiskNeed | None,
) -> None:
    config = work.config
    if config.max_members is None:
        config = replace(config, max_members=most_members(config, counts, cluster.worker_memory_bytes))
    like = work.like(config.max_members)
    if need is None:
        need = estimate_disk(config, missing, like, cluster.num_slots, counts)
        require_disk(config.study_dir, need)
    costs = Costs(config, counts, find_throughput(config.study_dir, config.cluster))
    seconds = costs.total_seconds(like, missing, cluster.num_slots)
    address, slots = config.cluster.address, cluster.num_slots
    print(folded(f"cluster: {address}, {slots} packs at once; dashboard: {cluster.dashboard_url}"))
    todo = f"to do: {len(missing)} teachers, {len(like)} packs; about {describe_seconds(seconds)}"
    print(folded(f"{todo} (throughput {costs.throughput.source}), {need}"))
    write_study_yaml(cfg, config.study_dir, command)  # not before: where the cluster is refused, nothing is written
    write_plan(work.config)
    facts = {"finished": len(work.finished), "packs": len(like), "code_version": code_version(), "job": this_job()}
    with logged_sweep(config.study_dir, study=config.study, **facts):
        if config.tuning is None:
            launch = make_launch(config, "grid", spans_nodes=cluster.spans_nodes)
            run_packs(config, launch, work.packs(config.max_members), cluster, costs, missing=missing)
        else:
            run_tuning(config, work.searches, cluster, costs, missing)


def _describe_plan(config: StudyConfig, planned: Sequence[Member], finished: set[str]) -> str:
    start = f"study {config.study} in {config.study_dir}:"
    if config.tuning is not None:
        return f"{start} {describe_tuning(config)}"
    run_ids = {member.run_id for member in planned}
    return (
        f"{start} {len(run_ids)} members"
        f" ({len(config.teachers)} teachers, {len(config.methods)} methods, {len(config.seeds)} seeds),"
        f" {len(run_ids & finished)} finished, {len(run_ids - finished)} to run"
    )

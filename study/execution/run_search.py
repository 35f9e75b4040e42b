"""Runs protocol=search and protocol=tuned: the rest of the search, then of the confirm phase."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from study.config.study import StudyConfig
from study.costs.model import Costs
from study.execution.cluster import Cluster
from study.execution.launch import Launch
from study.execution.round_packs import RoundPacks
from study.execution.run_packs import make_launch, run_packs, run_trials
from study.execution.teachers import TeacherTasks
from study.planning.arms import arms, tuning_of
from study.planning.members import Pack
from study.search.ledger import write_ledgers
from study.search.replay import current_outcomes, unconfirmed, wanted_phases
from study.search.rounds import TeacherSearch
from study.watching.progress_bar import bar, describe_search
from study.watching.study_count import StudyCount
from study.watching.study_metrics import StudyMetrics
from trainables.specs import TeacherSpec


def run_tuning(
    config: StudyConfig,
    searches: Sequence[TeacherSearch],
    cluster: Cluster,
    costs: Costs,
    missing: Sequence[TeacherSpec],
) -> None:
    """Runs what the replayed searches have left; `costs` are those of its packs; missing teachers are made meanwhile.

    Raises RuntimeError when a pack fails for good.
    """
    if not all(search.done for search in searches):
        launch = make_launch(config, "search", spans_nodes=cluster.spans_nodes)
        _run_search(config, list(searches), launch, cluster, missing)
        missing = ()
    while left := unconfirmed(config, phases := wanted_phases(config, list(searches))):
        launch = make_launch(
            config, "confirm", {member.run_id: phase for member, phase in phases}, spans_nodes=cluster.spans_nodes
        )
        run_packs(config, launch, left, cluster, costs, missing=missing)
        missing = ()
    write_ledgers(config, searches)


def _run_search(
    config: StudyConfig,
    searches: list[TeacherSearch],
    launch: Launch,
    cluster: Cluster,
    missing: Sequence[TeacherSpec],
) -> None:
    tuning = tuning_of(config)
    num_members = len(arms(config)) * tuning.num_trials * len(tuning.search_seeds)
    count = StudyCount(config.study_dir, collapse_fid=config.report.collapse_fid)
    teachers = TeacherTasks(config, missing)
    count.refresh()
    packs: list[Pack] = []  # that were begun
    num_before = len(count.rows) - _num_finished(searches)
    num_steps = config.train.steps
    describe = partial(
        describe_search, packs, teachers, num_steps=num_steps, num_before=num_before, num_members=num_members
    )
    total = num_members * num_steps + sum(spec.num_steps for spec in teachers.specs)

    def begin(begun: Sequence[Pack]) -> None:
        packs.extend(begun)
        count.plan(member for pack in begun for member in pack.members)

    source = RoundPacks(
        searches,
        lambda: current_outcomes(config),
        max_members=config.max_members,
        num_slots=cluster.num_slots,
        advanced=lambda: write_ledgers(config, searches),
    )
    metrics = StudyMetrics(config.study, count, lambda: [*packs, *source.waiting])
    with bar(count, describe, total=total, show=metrics.show):
        run_trials(config, launch, source, cluster, needed=teachers, begun=begin)
        teachers.wait()


def _num_finished(searches: Sequence[TeacherSearch]) -> int:
    return sum(len(trial.members) for search in searches for arm in search.searches for trial in arm.finished)

"""protocol=search and protocol=tuned from the records: what is finished, what is next, and running it."""

from __future__ import annotations

from analysis.records.rows import finished_run_ids
from study.config.study import StudyConfig
from study.costs.measured import Costs
from study.execution.cluster import Cluster
from study.execution.round_packs import RoundPacks
from study.execution.run_packs import Job, make_job, run_packs, run_trials
from study.planning.arms import arms, tuning_of
from study.search.ledger import write_ledgers
from study.search.replay import current_outcomes, replay, unconfirmed, wanted_phases
from study.search.rounds import TeacherSearch
from study.watching.progress_bar import bar


def run_tuning(config: StudyConfig, cluster: Cluster, costs: Costs) -> None:
    """Runs the rest of the search, then of the confirm phase; `costs` are those of its packs.

    Raises RuntimeError when a pack fails for good.
    """
    searches = replay(config)
    if not all(search.done for search in searches):
        _run_search(config, searches, make_job(config, "search", spans_nodes=cluster.spans_nodes), cluster)
    while left := unconfirmed(config, phases := wanted_phases(config, searches)):
        job = make_job(
            config,
            "confirm",
            {member.run_id: phase for member, phase in phases},
            spans_nodes=cluster.spans_nodes,
        )
        run_packs(job, left, cluster, costs)
    write_ledgers(config, searches)


def _run_search(config: StudyConfig, searches: list[TeacherSearch], job: Job, cluster: Cluster) -> None:
    tuning = tuning_of(config)
    num_members = len(arms(config)) * tuning.num_trials * len(tuning.search_seeds)
    before = len(finished_run_ids(config.study_dir)) - _num_finished(searches)

    def describe(_steps: dict[str, int]) -> tuple[int, str]:
        return len(finished_run_ids(config.study_dir)) - before, "searching"

    source = RoundPacks(
        searches,
        lambda: current_outcomes(config),
        max_members=config.max_members,
        num_slots=cluster.num_slots,
        advanced=lambda: write_ledgers(config, searches),
    )
    with bar(job.board, describe, total=num_members, unit="member"):
        run_trials(job, source, cluster)


def _num_finished(searches: list[TeacherSearch]) -> int:
    return sum(len(trial.members) for search in searches for arm in search.searches for trial in arm.finished)

"""protocol=search and protocol=tuned from the records: what is finished, what is next, and running it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from analysis.records.rows import finished_run_ids
from study.execution.cluster import Cluster
from study.config.study import StudyConfig
from study.search.confirm import check_fresh, confirm_phases, num_confirm_seeds
from study.costs.measured import Costs
from study.execution.run_packs import Job, make_job, run_packs, run_trials
from study.search.ledger import write_ledgers
from study.search.outcomes import Outcome, read_outcomes
from study.planning.members import Pack, packs, unfinished
from study.watching.progress_bar import bar
from study.execution.round_packs import RoundPacks
from study.search.rounds import TeacherSearch, make_searches
from study.planning.arms import arms, settings_member, tuning_of
from trainables.specs import Member


def replay(config: StudyConfig) -> list[TeacherSearch]:
    """The searches as far as the records go, with their ledgers written.

    Raises ValueError where seeds are not fresh or the recipe is outside a space.
    """
    check_fresh(config.study_dir, tuning_of(config))
    outcomes = _outcomes(config)
    searches = [search for search, _ in _replayed(config, outcomes)]
    if outcomes:
        write_ledgers(config, searches)
    return searches


def known_members(config: StudyConfig) -> tuple[list[Member], int]:
    """Every member that the records ask for so far, and at most how many are still to be suggested; writes nothing."""
    tuning, known, num_open = tuning_of(config), list[Member](), 0
    replayed = _replayed(config, _outcomes(config))
    for search, asked in replayed:
        told = [member for arm in search.searches for trial in arm.finished for member in trial.members]
        known += [*told, *asked]
        num_open += len(search.searches) * tuning.num_trials * len(tuning.search_seeds) - len(told) - len(asked)
        num_open += 0 if search.done else 2 * len(search.searches) * len(tuning.confirm_seeds)
    known += [member for member, _ in _confirm_phases(config, [search for search, _ in replayed])]
    return list({member.run_id: member for member in known}.values()), num_open


def _replayed(config: StudyConfig, outcomes: Mapping[str, Outcome]) -> list[tuple[TeacherSearch, list[Member]]]:
    """The searches as far as the outcomes go, and the members of the round that each has open."""
    return [(search, search.advance(outcomes)) for search in make_searches(config)]


def tuning_is_finished(config: StudyConfig) -> bool:
    """Whether every trial and every confirm member has its rows."""
    searches = replay(config)
    return all(search.done for search in searches) and not _unconfirmed(config, _confirm_phases(config, searches))


def run_tuning(config: StudyConfig, cluster: Cluster, costs: Costs) -> None:
    """Runs the rest of the search, then of the confirm phase; `costs` are those of its packs.

    Raises RuntimeError when a pack fails for good.
    """
    searches = replay(config)
    if not all(search.done for search in searches):
        _run_search(config, searches, make_job(config, "search", spans_nodes=cluster.spans_nodes), cluster)
    while left := _unconfirmed(config, phases := _confirm_phases(config, searches)):
        job = make_job(
            config,
            "confirm",
            {member.run_id: phase for member, phase in phases},
            spans_nodes=cluster.spans_nodes,
        )
        run_packs(job, left, cluster, costs)
    write_ledgers(config, searches)


def describe_tuning(config: StudyConfig) -> str:
    """What will run, in one line."""
    tuning, num_arms = tuning_of(config), len(arms(config))
    searched = num_arms * tuning.num_trials * len(tuning.search_seeds)
    text = (
        f"{searched} members to search ({num_arms} of teacher x method, {tuning.num_trials} trials each,"
        f" {len(tuning.search_seeds)} seeds, {tuning.sampler})"
    )
    if tuning.confirm_seeds:
        text += f", then {len(tuning.confirm_seeds)} fresh seeds of each one's best and of the recipe"
    return text


def planned_packs(config: StudyConfig) -> list[Pack]:
    """Packs like those of the whole tuning, with the recipe's settings: what its time is estimated by."""
    tuning, found = tuning_of(config), []
    for arm in arms(config):
        recipe = [settings_member(config, arm, {}, seed) for seed in tuning.search_seeds]
        found += [member for member in recipe for _ in range(tuning.num_trials)]
        found += [settings_member(config, arm, {}, seed) for seed in tuning.confirm_seeds for _ in range(2)]
    return packs(found, config.max_members)


def _run_search(config: StudyConfig, searches: list[TeacherSearch], job: Job, cluster: Cluster) -> None:
    tuning = tuning_of(config)
    num_members = len(arms(config)) * tuning.num_trials * len(tuning.search_seeds)
    before = len(finished_run_ids(config.study_dir)) - _num_finished(searches)

    def describe(_steps: dict[str, int]) -> tuple[int, str]:
        return len(finished_run_ids(config.study_dir)) - before, "searching"

    source = RoundPacks(
        searches,
        lambda: _outcomes(config),
        max_members=config.max_members,
        num_slots=cluster.num_slots,
        advanced=lambda: write_ledgers(config, searches),
    )
    with bar(job.board, describe, total=num_members, unit="member"):
        run_trials(job, source, cluster)


def _outcomes(config: StudyConfig) -> dict[str, Outcome]:
    return read_outcomes(config.study_dir, with_rungs=tuning_of(config).early_stopping is not None)


def _num_finished(searches: list[TeacherSearch]) -> int:
    return sum(len(trial.members) for search in searches for arm in search.searches for trial in arm.finished)


def _confirm_phases(config: StudyConfig, searches: list[TeacherSearch]) -> list[tuple[Member, str]]:
    """The members of the confirm phase that are wanted so far, and their phases."""
    outcomes = read_outcomes(config.study_dir)
    return [
        pair
        for search in searches
        for pair in confirm_phases(config, search, num_confirm_seeds(config, search, outcomes))
    ]


def _unconfirmed(config: StudyConfig, phases: Iterable[tuple[Member, str]]) -> list[Pack]:
    """Packs of the members that have no row yet."""
    planned = packs([member for member, _ in phases], config.max_members)
    return unfinished(planned, finished_run_ids(config.study_dir))

"""A search replayed from the records: what is finished, what is next. Touches neither Ray nor a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from analysis.records.rows import finished_run_ids
from study.config.study import StudyConfig
from study.planning.arms import arms, tuning_of
from study.planning.members import Pack, plan_packs, unfinished
from study.search.confirm import check_fresh, confirm_phases, num_confirm_seeds
from study.search.ledger import write_ledgers
from study.search.outcomes import Outcome, read_outcomes
from study.search.rounds import TeacherSearch, make_searches
from trainables.specs import Member


def replay(config: StudyConfig) -> list[TeacherSearch]:
    """The searches as far as the records go, with their ledgers written.

    Raises ValueError where seeds are not fresh or the recipe is outside a space.
    """
    check_fresh(config.study_dir, tuning_of(config))
    outcomes = current_outcomes(config)
    searches = [search for search, _ in _replayed(config, outcomes)]
    if outcomes:
        write_ledgers(config, searches)
    return searches


def known_members(config: StudyConfig) -> tuple[list[Member], int]:
    """Every member that the records ask for so far, and at most how many are still to be suggested; writes nothing."""
    tuning, known, num_open = tuning_of(config), list[Member](), 0
    replayed = _replayed(config, current_outcomes(config))
    for search, asked in replayed:
        told = [member for arm in search.searches for trial in arm.finished for member in trial.members]
        known += [*told, *asked]
        num_open += len(search.searches) * tuning.num_trials * len(tuning.search_seeds) - len(told) - len(asked)
        num_open += 0 if search.done else 2 * len(search.searches) * len(tuning.confirm_seeds)
    known += [member for member, _ in wanted_phases(config, [search for search, _ in replayed])]
    return list({member.run_id: member for member in known}.values()), num_open


def _replayed(config: StudyConfig, outcomes: Mapping[str, Outcome]) -> list[tuple[TeacherSearch, list[Member]]]:
    """The searches as far as the outcomes go, and the members of the round that each has open."""
    return [(search, search.advance(outcomes)) for search in make_searches(config)]


def tuning_is_finished(config: StudyConfig) -> bool:
    """Whether every trial and every confirm member has its rows."""
    searches = replay(config)
    return all(search.done for search in searches) and not unconfirmed(config, wanted_phases(config, searches))


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


def current_outcomes(config: StudyConfig) -> dict[str, Outcome]:
    return read_outcomes(config.study_dir, with_rungs=tuning_of(config).early_stopping is not None)


def wanted_phases(config: StudyConfig, searches: list[TeacherSearch]) -> list[tuple[Member, str]]:
    """The members of the confirm phase that are wanted so far, and their phases."""
    outcomes = read_outcomes(config.study_dir)
    return [
        pair
        for search in searches
        for pair in confirm_phases(config, search, num_confirm_seeds(config, search, outcomes))
    ]


def unconfirmed(config: StudyConfig, phases: Iterable[tuple[Member, str]]) -> list[Pack]:
    """Packs of the members that have no row yet."""
    planned = plan_packs([member for member, _ in phases], config.max_members)
    return unfinished(planned, finished_run_ids(config.study_dir))

"""The search replayed from outcomes: equal budgets, no seed in both phases, the same after any interruption."""

import json
import random
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tuned_study import DEFAULT, finish, outcome, tuned_config

from analysis.records.rows import read_runs
from analysis.results.searches import override_line, read_arms
from study.config.command_line import compose
from study.config.parse import study_config
from study.execution.round_packs import RoundPacks
from study.planning.arms import recipe_settings
from study.planning.members import plan_members as grid_members
from study.search.confirm import confirm_members, confirm_phases, recipe_members
from study.search.ledger import ledger, protocol_id, write_ledgers
from study.search.outcomes import Outcome
from study.search.rounds import TeacherSearch, make_searches
from trainables.specs import Member


def settings_of(search: TeacherSearch) -> list[list[dict[str, object]]]:
    return [[dict(trial.settings) for trial in arm.finished] for arm in search.searches]


def test_every_arm_gets_the_same_budget_exactly(tmp_path: Path) -> None:
    config = tuned_config(tmp_path, "protocol.teachers=[unet_16,unet_64]")
    for search in make_searches(config):
        asked = finish(search, {})
        assert len({member.run_id for member in asked}) == len(asked) == 3 * 6 * 2
        assert set(Counter(member.method.name for member in asked).values()) == {12}
        assert set(Counter(member.seed for member in asked)) == {1000, 1001}
        assert {(member.train.steps, member.train.batch_size) for member in asked} == {
            (config.train.steps, config.train.batch_size)
        }
        for arm in search.searches:
            assert [trial.number for trial in arm.finished] == list(range(6))
            assert [member.seed for trial in arm.finished for member in trial.members] == [1000, 1001] * 6


def test_no_confirm_seed_is_ever_searched_with(tmp_path: Path) -> None:
    config = tuned_config(tmp_path)
    (search,) = make_searches(config)
    asked = finish(search, {})
    confirmed = [member for member, _ in confirm_phases(config, search, 5)]
    assert {member.seed for member in asked} == {1000, 1001}
    assert {member.seed for member in confirmed} == set(config.seeds)
    assert not {member.run_id for member in asked} & {member.run_id for member in confirmed}
    for arm in search.searches:
        assert not any(set(config.seeds) & set(t.user_attrs.get("seeds", [])) for t in arm.optuna.study.trials)


def test_the_best_settings_and_the_recipes_run_on_every_confirm_seed(tmp_path: Path) -> None:
    config = tuned_config(tmp_path)
    (search,) = make_searches(config)
    assert confirm_phases(config, search, 5) == []  # not before the search is done
    finish(search, {})
    grid = {member.run_id for member in grid_members(config)}
    for arm in search.searches:
        best = min(arm.finished, key=lambda trial: trial.score)
        assert arm.best() == best
        for member, seed in zip(confirm_members(config, arm), range(5), strict=True):
            assert member.seed == seed
            assert member.method == best.members[0].method
            assert member.train == best.members[0].train
        assert {member.run_id for member in recipe_members(config, arm.arm)} <= grid
        assert arm.finished[0].settings == recipe_settings(config, arm.arm)
    phases = Counter(phase for _, phase in confirm_phases(config, search, 5))
    recipe_won = sum(arm.best().number == 0 for arm in search.searches)
    assert phases == {"confirm": 15, "grid": 15 - 5 * recipe_won}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_the_search_is_the_same_whatever_was_lost_on_the_way(tmp_path: Path, sampler: str) -> None:
    """A process that is killed again and again: of every round some rows are kept, in any order, and it starts anew."""
    config = tuned_config(tmp_path, f"protocol.sampler={sampler}")
    (undisturbed,) = make_searches(config)
    expected = finish(undisturbed, {})
    shuffle, outcomes, ran = random.Random(1), dict[str, Outcome](), list[Member]()
    for _ in range(100):
        (search,) = make_searches(config)
        missing = [member for member in search.advance(outcomes) if member.run_id not in outcomes]
        if not missing:
            break
        kept = shuffle.sample(missing, shuffle.randint(0, len(missing)))
        ran += kept
        outcomes |= {member.run_id: outcome(member) for member in kept}
    assert sorted(member.run_id for member in ran) == sorted(member.run_id for member in expected)
    assert settings_of(search) == settings_of(undisturbed)
    assert ledger(config, search.searches[2]) == ledger(config, undisturbed.searches[2])


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(tmp_path: Path) -> None:
    small, large = tuned_config(tmp_path), tuned_config(tmp_path, "protocol.num_trials=8")
    (search,), (longer,) = make_searches(small), make_searches(large)
    asked, more = finish(search, {}), finish(longer, {})
    assert [member.run_id for member in asked] == [member.run_id for member in more][: len(asked)]
    assert protocol_id(small) == protocol_id(large)


def test_other_seeds_of_the_sampler_and_other_teachers_suggest_other_settings(tmp_path: Path) -> None:
    found = []
    for overrides in ((), ("protocol.sampler_seed=1",), ("protocol.teachers=[unet_16]",)):
        (search,) = make_searches(tuned_config(tmp_path, *overrides))
        finish(search, {})
        found.append(repr(settings_of(search)))
    assert len(set(found)) == 3


def test_a_diverged_member_counts_and_never_wins(tmp_path: Path) -> None:
    config = tuned_config(tmp_path, "protocol.methods=[out_kd]")
    (search,) = make_searches(config)
    outcomes: dict[str, Outcome] = {}
    while members := search.advance(outcomes):
        for member in members:
            bad = member.seed == 1001 and member.method.lambda_out != 1.0
            outcomes[member.run_id] = Outcome(float("inf") if bad else 500.0, member.train.steps, 1.0)
    (arm,) = search.searches
    assert arm.best().number == 0
    assert [trial.score for trial in arm.finished[1:]] == [float("inf")] * 5
    assert json.loads(json.dumps(ledger(config, arm)))["trials"][1]["score"] is None


def run_rounds(source: RoundPacks, outcomes: dict[str, Outcome], *, num_slots: int, pick: random.Random) -> list[int]:
    """Runs packs as a cluster does: num_slots at once, ending in random order. Returns the sizes of the packs."""
    running, sizes = [], []
    while not source.exhausted or running:
        while len(running) < num_slots and (packs := source.next_packs(lambda _pack: True)):
            running.append(packs)
            sizes += [len(pack.members) for pack in packs]
        packs = running.pop(pick.randrange(len(running)))
        outcomes |= {member.run_id: outcome(member) for pack in packs for member in pack.members}
        source.ended(packs)
    return sizes


@pytest.mark.parametrize(("num_slots", "sizes"), [(1, [6, 6]), (2, [6, 6]), (4, [3, 3, 3, 3])])
def test_the_number_of_slots_changes_the_packs_but_no_suggestion(
    tmp_path: Path, num_slots: int, sizes: Sequence[int]
) -> None:
    config = tuned_config(tmp_path, "pack.max_members=6")
    (expected,) = make_searches(config)
    finish(expected, {})
    searches, outcomes = make_searches(config), dict[str, Outcome]()
    source = RoundPacks(searches, lambda: outcomes, max_members=6, num_slots=num_slots)
    assert run_rounds(source, outcomes, num_slots=num_slots, pick=random.Random(num_slots)) == list(sizes) * 3
    assert settings_of(searches[0]) == settings_of(expected)


def test_teachers_do_not_wait_for_each_other(tmp_path: Path) -> None:
    config = tuned_config(tmp_path, "protocol.teachers=[unet_16,unet_64]", "protocol.methods=[out_kd]")
    searches, outcomes = make_searches(config), dict[str, Outcome]()
    source = RoundPacks(searches, lambda: outcomes, max_members=None, num_slots=1)
    (one_seed,), (other_seed,), *rest = [source.next_packs(lambda _pack: True) for _ in range(4)]
    assert one_seed.teacher == other_seed.teacher
    assert all(pack.teacher != one_seed.teacher for (pack,) in rest)
    assert not source.next_packs(lambda _pack: True)  # both rounds are out
    assert not source.exhausted
    for pack in (one_seed, other_seed):
        outcomes |= {member.run_id: outcome(member) for member in pack.members}
        source.ended([pack])
    (third,) = source.next_packs(lambda _pack: True)
    assert third.teacher == one_seed.teacher


def test_a_pack_that_leaves_no_rows_ends_the_search(tmp_path: Path) -> None:
    source = RoundPacks(make_searches(tuned_config(tmp_path)), dict, max_members=6, num_slots=2)
    source.ended(source.next_packs(lambda _pack: True))
    assert source.exhausted
    assert not source.next_packs(lambda _pack: True)


def test_members_of_one_seed_and_all_methods_share_a_pack(tmp_path: Path) -> None:
    source = RoundPacks(make_searches(tuned_config(tmp_path)), dict, max_members=12, num_slots=2)
    (pack,) = source.next_packs(lambda _pack: True)
    assert len({member.seed for member in pack.members}) == 1
    assert len({member.method.name for member in pack.members}) == 3


def test_the_journal_opens_as_an_optuna_storage(tmp_path: Path) -> None:
    config = tuned_config(tmp_path)
    searches = make_searches(config)
    finish(searches[0], {})
    write_ledgers(config, searches)
    (path,) = (tmp_path / "searches").glob("optuna-*.journal")
    storage = JournalStorage(JournalFileBackend(str(path)))
    for arm in searches[0].searches:
        study = optuna.load_study(study_name=arm.arm.name, storage=storage)
        assert [trial.params for trial in study.trials] == [dict(trial.settings) for trial in arm.finished]
        assert study.best_value == arm.best().score
        assert study.trials[0].user_attrs["run_ids"] == [member.run_id for member in arm.finished[0].members]
    before = path.stat().st_mtime_ns
    write_ledgers(config, searches)
    assert path.stat().st_mtime_ns == before


def test_the_line_to_paste_runs_the_chosen_settings(tmp_path: Path) -> None:
    config = tuned_config(tmp_path)
    searches = make_searches(config)
    finish(searches[0], {})
    write_ledgers(config, searches)
    lines = {arm.method: override_line(arm) for arm in read_arms(tmp_path, read_runs(tmp_path))}
    for arm in searches[0].searches:
        pasted = study_config(compose("config", [*DEFAULT, *shlex.split(lines[arm.arm.method])]))
        chosen = arm.best().members[0]
        assert pasted.methods == (chosen.method,)
        assert pasted.train == chosen.train

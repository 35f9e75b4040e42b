"""Confirm seeds that are added one at a time."""

from pathlib import Path

from tuned_study import finish, outcome, tuned_config

from study.search.confirm import confirm_phases, num_confirm_seeds
from study.search.outcomes import Outcome
from study.search.rounds import TeacherSearch, make_searches

SEEDS = "protocol.confirm_seeds=[0,1,2,3,4,5,6,7]"
RULE = "protocol.sequential_seeds={compare:[lift_place_feat,out_kd],first:3,alpha:0.05}"


def confirm(tmp_path: Path, advantage: float) -> tuple[TeacherSearch, list[int]]:
    """The numbers of seeds after each step, where lift_place_feat is better by `advantage` points on every seed."""
    config = tuned_config(tmp_path, SEEDS, RULE)
    (search,) = make_searches(config)
    outcomes: dict[str, Outcome] = {}
    finish(search, outcomes)
    steps = []
    while True:
        num = num_confirm_seeds(config, search, outcomes)
        missing = [member for member, _ in confirm_phases(config, search, num) if member.run_id not in outcomes]
        if not missing:
            return search, steps
        steps.append(num)
        for member in missing:
            base = 100.0 - (advantage if member.method.name == "lift_place_feat" else 0.0)
            outcomes[member.run_id] = Outcome(base + outcome(member).fid / 10, member.train.steps, 1.0)


def test_seeds_are_added_one_at_a_time_to_the_last_while_nothing_is_decided(tmp_path: Path) -> None:
    _, steps = confirm(tmp_path, advantage=0.0)
    assert steps == [3, 4, 5, 6, 7, 8]


def test_no_seed_is_added_once_it_is_decided(tmp_path: Path) -> None:
    _, steps = confirm(tmp_path, advantage=90.0)
    assert steps == [3]


def test_every_method_and_the_recipe_get_the_same_seeds(tmp_path: Path) -> None:
    config = tuned_config(tmp_path, SEEDS, RULE)
    search, _ = confirm(tmp_path, advantage=0.0)
    for num in (3, 5):
        members = [member for member, _ in confirm_phases(config, search, num)]
        assert {member.seed for member in members} == set(range(num))
        assert len(members) % num == 0


def test_without_the_rule_all_seeds_run_at_once(tmp_path: Path) -> None:
    config = tuned_config(tmp_path, SEEDS)
    (search,) = make_searches(config)
    finish(search, {})
    assert num_confirm_seeds(config, search, {}) == 8

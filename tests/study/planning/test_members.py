from dataclasses import replace

import pytest
from trained_study import TRAINED

from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.execution.schedule import share_out
from study.planning.members import Pack, plan_members, plan_packs, unfinished


@pytest.fixture(scope="module")
def config() -> StudyConfig:
    return study_config(compose("config", TRAINED))


def test_a_study_has_every_cell_and_one_reference_per_seed(config: StudyConfig) -> None:
    members = plan_members(config)
    assert len(members) == len({member.run_id for member in members}) == 110
    without_teacher = [member for member in members if member.teacher is None]
    reference = [("diffusion_only", seed) for seed in range(5)]
    assert [(member.method.name, member.seed) for member in without_teacher] == reference
    cells = {(member.teacher.name, member.method.name) for member in members if member.teacher}
    assert len(cells) == 3 * 7


def test_the_default_study_reaches_a_gap_of_three_hundred() -> None:
    from trainables.data import data_shape
    from trainables.models import count

    config = study_config(compose("config", []))
    shape = data_shape(config.data)
    largest = max(count(teacher.model, shape).params for teacher in config.teachers)
    assert largest >= 300 * count(config.student, shape).params


def test_run_id_follows_from_what_a_run_is(config: StudyConfig) -> None:
    member = plan_members(config)[0]
    assert replace(member, seed=7).run_id != member.run_id
    assert replace(member, train=replace(member.train, steps=9)).run_id != member.run_id
    other = replace(member, evaluation=replace(member.evaluation, num_images=99))
    assert other.run_id != member.run_id
    assert other.train_id == member.train_id
    renamed = replace(member, student=replace(member.student, name="renamed"))
    faster = replace(member, evaluation=replace(member.evaluation, batch_size=7))
    assert renamed.run_id == faster.run_id == member.run_id


@pytest.mark.parametrize(("max_members", "num_packs"), [(1, 110), (2, 65), (4, 35), (7, 20), (100, 20), (None, 20)])
def test_packs_hold_every_member_once_and_one_teacher_and_seed_each(
    config: StudyConfig, max_members: int | None, num_packs: int
) -> None:
    members = plan_members(config)
    packs = plan_packs(members, max_members)
    assert len(packs) == len({pack.pack_id for pack in packs}) == num_packs
    assert sorted(m.run_id for pack in packs for m in pack.members) == sorted(m.run_id for m in members)
    for pack in packs:
        assert 1 <= len(pack.members) <= (max_members or 7)
        assert len({(m.teacher.teacher_id if m.teacher else None, m.seed) for m in pack.members}) == 1


def test_an_unfinished_pack_keeps_its_id(config: StudyConfig) -> None:
    packs = plan_packs(plan_members(config), None)
    first, second = packs[0], packs[1]
    finished = {first.members[1].run_id, *(member.run_id for member in second.members)}
    left = unfinished(packs, finished)
    assert [pack.pack_id for pack in left] == [first.pack_id, *(pack.pack_id for pack in packs[2:])]
    assert left[0].members == (first.members[0], *first.members[2:])


@pytest.mark.parametrize("num_shares", [1, 2, 3, 7, 50])
def test_shares_end_together(config: StudyConfig, num_shares: int) -> None:
    packs = plan_packs(plan_members(config), None)

    def seconds(pack: Pack) -> float:
        return 10.0 if pack.teacher and pack.teacher.name == "unet_160" else 4.0

    shares = share_out(packs, num_shares, seconds)
    assert sorted(pack.pack_id for share in shares for pack in share) == sorted(pack.pack_id for pack in packs)
    assert len(shares) == min(num_shares, len(packs))
    lengths = [sum(map(seconds, share)) for share in shares]
    assert max(lengths) - min(lengths) <= 10.0
    if num_shares == 2:
        assert max(lengths) - min(lengths) <= 4.0


def test_plan_is_the_same_in_any_order(config: StudyConfig) -> None:
    members = plan_members(config)
    forward, backward = plan_packs(members, 2), plan_packs(reversed(members), 2)
    assert [pack.pack_id for pack in forward] == [pack.pack_id for pack in backward]


def test_the_largest_teacher_is_first(config: StudyConfig) -> None:
    first = plan_packs(plan_members(config), None)[0]
    assert first.teacher is not None
    assert first.teacher.name == "unet_160"

"""Shares of a plan: every pack once, no place idle that need not be, no group started for nothing."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from trained_study import TRAINED

from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.execution import run_packs, teachers
from study.execution.schedule import schedule, waves
from study.execution.teachers import TeacherTasks
from study.planning.members import Pack, plan_members, plan_packs
from trainables.specs import TeacherSpec


@dataclass(frozen=True)
class KnownCosts:
    """Seconds of a pack and of a teacher, by the teacher's name."""

    packs: dict[str | None, float]
    teachers: dict[str, float]

    def seconds(self, pack: Pack) -> float:
        return self.packs[pack.teacher.name if pack.teacher else None]

    def teacher_seconds(self, spec: TeacherSpec) -> float:
        return self.teachers[spec.name]

    def total_seconds(self, *_: object) -> float:
        return 100.0


@pytest.fixture(scope="module")
def config() -> StudyConfig:
    return study_config(compose("config", TRAINED))


COSTS = KnownCosts(
    {None: 2, "unet_16": 14, "unet_64": 16, "unet_160": 30}, {"unet_16": 6, "unet_64": 20, "unet_160": 90}
)


@pytest.mark.parametrize("num_slots", [1, 2, 3, 8])
@pytest.mark.parametrize("made", [False, True])
def test_every_pack_has_one_place_and_waits_for_no_other_teacher(
    config: StudyConfig, num_slots: int, made: bool
) -> None:
    packs = plan_packs(plan_members(config), None)
    missing = [] if made else sorted(config.teachers, key=COSTS.teacher_seconds, reverse=True)
    shares = schedule(packs, missing, num_slots, COSTS)  # type: ignore[arg-type]
    assert sorted(pack.pack_id for share in shares for pack in share) == sorted(pack.pack_id for pack in packs)
    assert len(shares) <= num_slots * (1 if made else 2)
    waits = [{pack.teacher is not None and pack.teacher.name == "unet_160" for pack in share} for share in shares]
    if not made:
        assert all(len(wait) == 1 for wait in waits)
        assert waits == sorted(waits, key=lambda wait: True in wait)


def test_teachers_that_are_named_come_first_and_nothing_is_left_out(config: StudyConfig) -> None:
    packs = plan_packs(plan_members(config), None)
    found = waves(packs, ["unet_64", "unet_16"])
    names = [{pack.teacher.name if pack.teacher else None for pack in wave} for wave in found]
    assert names == [{"unet_64"}, {"unet_16"}, {"unet_160", None}]
    assert sorted(pack.pack_id for wave in found for pack in wave) == sorted(pack.pack_id for pack in packs)
    assert waves(packs, []) == [packs]


def test_a_sweep_begins_with_the_teachers_that_are_named(config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Pack] = []
    monkeypatch.setattr(run_packs, "bar", lambda *_, **__: nullcontext())
    monkeypatch.setattr(
        run_packs, "run_trials", lambda _config, _launch, source, _cluster, **_: begun.extend(source.waiting)
    )
    monkeypatch.setattr(teachers, "_start", lambda *_: None)
    named = replace(config, teachers_first=("unet_16", "unet_64"))
    cluster: Any = SimpleNamespace(num_slots=2, live_slots=lambda: 2)
    packs = plan_packs(plan_members(config), None)
    run_packs.run_packs(named, None, packs, cluster, COSTS)  # type: ignore[arg-type]
    assert [pack.teacher.name for pack in begun[:10] if pack.teacher] == ["unet_16"] * 5 + ["unet_64"] * 5
    orders = [[spec.name for spec in TeacherTasks(one, one.teachers).specs] for one in (named, config)]
    assert orders == [["unet_16", "unet_64", "unet_160"], ["unet_160", "unet_64", "unet_16"]]


def test_a_place_that_makes_a_teacher_gets_less(config: StudyConfig) -> None:
    """One place makes unet_160 for 90 s: the other does all that needs no unet_160, and no third group is started."""
    packs = plan_packs(plan_members(config), None)
    missing = sorted(config.teachers, key=COSTS.teacher_seconds, reverse=True)
    early, late = schedule(packs, missing, 2, COSTS)  # type: ignore[arg-type]
    assert {pack.teacher.name for pack in late if pack.teacher} == {"unet_160"}
    assert len(early) == 15
    assert len(late) == 5


def test_long_studies_begin_new_groups_on_the_way(config: StudyConfig) -> None:
    slow = KnownCosts(dict.fromkeys(COSTS.packs, 300.0), COSTS.teachers)
    shares = schedule(plan_packs(plan_members(config), None), [], 2, slow)  # type: ignore[arg-type]
    assert [len(share) for share in shares] == [2] * 10

"""Settings -> members: what a trial of a search trains, and what its best settings are confirmed with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_spaces import Space, contains
from study.config.study import StudyConfig
from study.config.tuning import TRAIN_SETTINGS, TuningConfig
from study.planning.members import Pack, make_member, plan_packs
from trainables.data import data_shape
from trainables.losses.methods import make_method
from trainables.specs import Member, TeacherSpec

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """What gets a budget of its own: a method on a teacher (None: the method needs none)."""

    teacher: TeacherSpec | None
    method: str
    space: Space

    @property
    def teacher_id(self) -> str:
        return self.teacher.teacher_id if self.teacher else ""

    @property
    def name(self) -> str:
        return f"{self.teacher.name}-{self.method}" if self.teacher else self.method


def arms(config: StudyConfig) -> list[Arm]:
    """Every method on every teacher of the protocol; a method without teacher once."""
    tuning = tuning_of(config)
    found = []
    for teacher in (teacher for teacher in config.teachers if teacher.name in tuning.teachers):
        for name, space in tuning.spaces.items():
            needed = _make_method(config, name, {}).needs_teacher
            found.append(Arm(teacher if needed else None, name, space))
    return list({(arm.teacher_id, arm.method): arm for arm in found}.values())


def settings_member(config: StudyConfig, arm: Arm, settings: Settings, seed: int) -> Member:
    """The member that trains with the settings over the recipe's; without settings the recipe's own."""
    method = _make_method(config, arm.method, {k: v for k, v in settings.items() if k not in TRAIN_SETTINGS})
    member = make_member(config, arm.teacher, method, seed)
    own = {key.removeprefix("train."): value for key, value in settings.items() if key in TRAIN_SETTINGS}
    return replace(member, train=replace(config.train, **own)) if own else member


def recipe_settings(config: StudyConfig, arm: Arm) -> dict[str, Any]:
    """The recipe's values of the arm's space. Raises ValueError when the space does not hold them."""
    recipe = settings_member(config, arm, {}, seed=0)
    settings: dict[str, Any] = {}
    for parameter in arm.space.parameters:
        if all(settings.get(key) in values for key, values in parameter.when.items()):
            name = parameter.name
            if name in TRAIN_SETTINGS:
                settings[name] = getattr(recipe.train, name.removeprefix("train."))
            else:
                settings[name] = recipe.method.settings.get(name)
    if not contains(arm.space, settings):
        raise ValueError(
            f"protocol.recipe_first=true needs a search space of {arm.method} that holds the recipe's settings"
            f" ({', '.join(f'{key}={value}' for key, value in settings.items())}); widen it or give"
            " protocol.recipe_first=false"
        )
    return settings


def tuning_of(config: StudyConfig) -> TuningConfig:
    assert config.tuning is not None
    return config.tuning


def _make_method(config: StudyConfig, name: str, settings: Settings) -> Any:
    num_elements = data_shape(config.data).num_elements
    settings = {**config.recipe, **settings}
    return make_method(name, settings, num_elements=num_elements, own=config.own_methods)


def planned_packs(config: StudyConfig) -> list[Pack]:
    """Packs like those of the whole tuning, with the recipe's settings: what its time is estimated by."""
    tuning, found = tuning_of(config), []
    for arm in arms(config):
        recipe = [settings_member(config, arm, {}, seed) for seed in tuning.search_seeds]
        found += [member for member in recipe for _ in range(tuning.num_trials)]
        found += [settings_member(config, arm, {}, seed) for seed in tuning.confirm_seeds for _ in range(2)]
    return plan_packs(found, config.max_members)

"""A search space: settings, what each may be, and which are asked for only where another has a certain value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from search_spaces.reader import read_space


@dataclass(frozen=True)
class Parameter:
    """One setting: its distribution, and the settings that it depends on (`when`: name -> values that ask for it)."""

    name: str
    distribution: BaseDistribution
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """Parameters in the order in which they are asked for; one that depends on another comes after it."""

    name: str
    parameters: tuple[Parameter, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)


def load_space(name: str, *, num_elements: int) -> Space:
    """The space of that name in this folder, or of the .yaml file at that path.

    num_elements: H*W of an output channel, for settings of kind divisor. Raises ValueError that names the key, the
    value and what is allowed.
    """
    parameters: list[Parameter] = []
    for key, value in read_space(name).items():
        distribution = _distribution(f"search_space.{key}", value, num_elements)
        when = _condition(f"search_space.{key}.when", value.get("when", {}), parameters)
        parameters.append(Parameter(key, distribution, when))
    return Space(Path(name).stem, tuple(parameters))


def merge(space: Space, shared: Space) -> Space:
    """Both in one. Raises ValueError for a setting that is in both."""
    for name in shared.names:
        if name in space.names:
            raise ValueError(f"search_space.{name} is in {space.name} and in the shared space {shared.name}; drop one")
    return Space(space.name, space.parameters + shared.parameters)


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """Asks a trial for a value of every setting whose condition holds."""
    settings: dict[str, Any] = {}
    for parameter in space.parameters:
        if _applies(parameter, settings):
            settings[parameter.name] = _suggest(trial, parameter.name, parameter.distribution)
    return settings


def contains(space: Space, settings: Mapping[str, Any]) -> bool:
    """Whether `suggest` could give exactly these settings."""
    known: dict[str, Any] = {}
    for parameter in space.parameters:
        if not _applies(parameter, known):
            continue
        if parameter.name not in settings:
            return False
        value = known[parameter.name] = settings[parameter.name]
        if isinstance(parameter.distribution, CategoricalDistribution):
            if value not in parameter.distribution.choices:
                return False
        elif not isinstance(value, int | float) or not parameter.distribution._contains(float(value)):
            return False
    return set(known) == set(settings)


def num_settings(space: Space) -> float:
    """How many different settings there are at most; infinite where one is a continuous number."""
    return math.prod(_num_values(parameter.distribution) for parameter in space.parameters)


def describe(space: Space) -> dict[str, Any]:
    """The space as JSON values: what suggestions follow from, besides the sampler."""
    return {
        parameter.name: [
            distribution_to_json(parameter.distribution),
            {key: list(values) for key, values in parameter.when.items()},
        ]
        for parameter in space.parameters
    }


def _applies(parameter: Parameter, settings: Mapping[str, Any]) -> bool:
    return all(key in settings and settings[key] in values for key, values in parameter.when.items())


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    ask: Any = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return ask(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _num_values(distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    assert isinstance(distribution, FloatDistribution)
    return math.inf if distribution.step is None else (distribution.high - distribution.low) // distribution.step + 1


def _distribution(key: str, value: Mapping[str, Any], num_elements: int) -> BaseDistribution:
    given = {name: setting for name, setting in value.items() if name not in ("kind", "when")}
    if value["kind"] == "categorical":
        return CategoricalDistribution(given["choices"])
    if value["kind"] == "divisor":
        low, high = given.get("low", 1), given.get("high", num_elements)
        divisors = [size for size in range(low, min(high, num_elements) + 1) if num_elements % size == 0]
        if not divisors:
            raise ValueError(f"{key} must leave a divisor of H*W = {num_elements} but got low {low} and high {high}")
        return CategoricalDistribution(divisors)
    try:
        return FloatDistribution(**given) if value["kind"] == "float" else IntDistribution(**given)
    except ValueError as error:
        raise ValueError(f"{key} of kind {value['kind']} must be a distribution of Optuna: {error}") from error


def _condition(key: str, when: Mapping[str, Any], earlier: Sequence[Parameter]) -> dict[str, tuple[Any, ...]]:
    """{setting: value or list of values}, checked against the categorical settings that come before."""
    choices = {
        parameter.name: parameter.distribution.choices
        for parameter in earlier
        if isinstance(parameter.distribution, CategoricalDistribution)
    }
    condition = {}
    for name, values in when.items():
        if name not in choices:
            allowed = ", ".join(choices) or "none"
            raise ValueError(f"{key} must name a categorical setting above it ({allowed}) but got {name!r}")
        condition[name] = tuple(values) if isinstance(values, list) else (values,)
        for value in condition[name]:
            if value not in choices[name]:
                raise ValueError(f"{key}.{name} must be among {', '.join(map(str, choices[name]))} but got {value!r}")
    return condition

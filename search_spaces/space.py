"""Reads a YAML search space and makes Optuna distributions of it.

A space maps the name of a setting to {kind: categorical, choices: [...]}, {kind: float, low:, high:, log:} or
{kind: int, low:, high:, log:, step:}.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

_FOLDER = Path(__file__).parent
_FIELDS = {
    "categorical": (CategoricalDistribution, {"choices"}, {"choices"}),
    "float": (FloatDistribution, {"low", "high"}, {"low", "high", "log", "step"}),
    "int": (IntDistribution, {"low", "high"}, {"low", "high", "log", "step"}),
}


def space_names() -> list[str]:
    """The names of the spaces that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_space(name: str) -> dict[str, BaseDistribution]:
    """The distributions of a space by its name or by the path of a .yaml file.

    Raises ValueError that names the key, the value and what is allowed.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else _FOLDER / f"{name}.yaml"
    if name not in space_names() and path.parent == _FOLDER:
        raise ValueError(
            f"search_space must be one of {', '.join(space_names())} or the path of a .yaml file but got {name!r}"
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"search_space {name!r} cannot be read: {error}") from error
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"search_space {name!r} must map settings to distributions but holds {content!r}")
    return {str(key): _distribution(str(key), value) for key, value in content.items()}


def suggest(trial: Trial, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Asks a trial for one value of every setting of the space."""
    return {key: trial._suggest(key, distribution) for key, distribution in space.items()}


def _distribution(key: str, value: Any) -> BaseDistribution:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind not in _FIELDS:
        raise ValueError(f"search_space.{key}.kind must be one of {', '.join(_FIELDS)} but got {kind!r}")
    make, required, allowed = _FIELDS[kind]
    given = {str(field) for field in value} - {"kind"}
    if not required <= given <= allowed:
        raise ValueError(
            f"search_space.{key} of kind {kind} takes {', '.join(sorted(allowed))} but got {', '.join(sorted(given))}"
        )
    try:
        distribution: BaseDistribution = make(**{field: value[field] for field in given})
    except (TypeError, ValueError) as error:
        raise ValueError(f"search_space.{key} is not a {kind} distribution: {error}") from error
    return distribution

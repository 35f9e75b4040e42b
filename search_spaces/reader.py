"""Reads the YAML of a search space, with what it includes, and refuses by name what is wrong with it.

A file maps the name of a setting to {kind: categorical, choices: [...]}, {kind: float, low:, high:, log:, step:},
{kind: int, low:, high:, log:, step:} or {kind: divisor, low:, high:} (the divisors of H*W), each with an optional
`when: {setting: value or list of values}`. The key `include` lists other spaces, whose settings come first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent
_FIELDS = {  # kind: required fields, allowed fields
    "categorical": ({"choices"}, {"choices"}),
    "float": ({"low", "high"}, {"low", "high", "log", "step"}),
    "int": ({"low", "high"}, {"low", "high", "log", "step"}),
    "divisor": (set(), {"low", "high"}),
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: 1e-7 is one, which YAML 1.1 takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+\Z"), list("-+.0123456789")
)


def space_names() -> list[str]:
    """The names of the spaces that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_space(name: str) -> dict[str, dict[str, Any]]:
    """The settings of a space by its name or by the path of its .yaml file, as they are written there.

    A setting that is written again in the including file replaces the included one. Raises ValueError that names the
    file or the key, the value and what is allowed.
    """
    settings = _read(_path(name, Path()), ())
    if not settings:
        raise ValueError(f"search_space {name!r} must hold at least one setting")
    return settings


def _path(name: str, folder: Path) -> Path:
    if name.endswith((".yaml", ".yml")):
        return folder / name
    if name not in space_names():
        raise ValueError(
            f"search_space must be one of {', '.join(space_names())} or the path of a .yaml file but got {name!r}"
        )
    return _FOLDER / f"{name}.yaml"


def _read(path: Path, within: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
    if path.resolve() in within:
        raise ValueError(f"search_space {path} includes itself")
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"search_space {path} cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"search_space {path} must map settings to distributions but holds {content!r}")
    included = content.get("include", [])
    if not isinstance(included, list) or not all(isinstance(name, str) for name in included):
        raise ValueError(f"search_space {path}: include must be a list of spaces but got {included!r}")
    settings: dict[str, dict[str, Any]] = {}
    for name in included:
        settings |= _read(_path(name, path.parent), (*within, path.resolve()))
    for key, value in content.items():
        if key != "include":
            settings[str(key)] = _checked(f"search_space.{key}", value)
    return settings


def _checked(key: str, value: Any) -> dict[str, Any]:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise ValueError(f"{key}.kind must be one of {', '.join(_FIELDS)} but got {kind!r}")
    required, allowed = _FIELDS[kind]
    given = {str(field) for field in value} - {"kind", "when"}
    if not required <= given <= allowed:
        fields = ", ".join(sorted(allowed))
        raise ValueError(f"{key} of kind {kind} takes {fields} but got {', '.join(sorted(given)) or 'nothing'}")
    if not isinstance(value.get("when", {}), Mapping):
        raise ValueError(f"{key}.when must map a setting to its values but got {value['when']!r}")
    if kind == "categorical":
        _check_choices(key, value["choices"])
    else:
        _check_bounds(key, kind, value)
    return dict(value)


def _check_choices(key: str, choices: Any) -> None:
    plain = isinstance(choices, list) and all(isinstance(one, str | int | float | bool) for one in choices)
    if not plain or not choices or len({repr(one) for one in choices}) < len(choices):
        raise ValueError(f"{key}.choices must be a list of different values but got {choices!r}")


def _check_bounds(key: str, kind: str, value: Mapping[str, Any]) -> None:
    types: Any = int | float if kind == "float" else int
    what = "a number" if kind == "float" else "a whole number"
    for field in ("low", "high", "step"):
        number = value.get(field)
        if field in value and (isinstance(number, bool) or not isinstance(number, types) or not math.isfinite(number)):
            raise ValueError(f"{key}.{field} must be {what} but got {number!r}")
    if not isinstance(value.get("log", False), bool):
        raise ValueError(f"{key}.log must be true or false but got {value['log']!r}")
    if "low" in value and "high" in value and value["low"] > value["high"]:
        raise ValueError(f"{key}.low must be at most high ({value['high']}) but got {value['low']}")
    if kind == "divisor" and value.get("low", 1) < 1:
        raise ValueError(f"{key}.low must be 1 or more but got {value['low']}")
    if value.get("log") and value["low"] <= 0:
        raise ValueError(f"{key}.low must be above 0 where log is true but got {value['low']}")

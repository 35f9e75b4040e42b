"""The options of the config groups: the YAML files under study/conf."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from omegaconf import OmegaConf


@cache
def groups() -> tuple[str, ...]:
    """The names of the config groups."""
    return tuple(sorted(path.name for path in files("study.conf").iterdir() if path.is_dir() and path.name[0] != "_"))


def option_names(group: str) -> list[str]:
    """The names of the options of a config group: its YAML files."""
    return sorted(path.name.removesuffix(".yaml") for path in _group(group).iterdir() if path.name.endswith(".yaml"))


def option_config(group: str, name: str) -> dict[str, Any]:
    """The content of one option of a config group."""
    read = OmegaConf.create((_group(group) / f"{name}.yaml").read_text())  # as Hydra reads it: 1e-6 is a number
    content: Any = OmegaConf.to_container(read, resolve=False)
    assert isinstance(content, dict)
    return content


def _group(group: str) -> Traversable:
    return files("study.conf") / group

"""The config's entries for methods -> Method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.config.study import require_name
from trainables.checks import Raw, require_text
from trainables.data import DataShape
from trainables.losses.methods import METHODS, Method, define_method, make_method, via


def own_methods(entries: list[Any]) -> dict[str, Method]:
    """The methods that entries define, by name: {method: name, output: module:name, feature: module:name, ...}.

    An entry defines one where it has an output, or where it has a feature loss and its name is in no table.
    Raises ValueError where a name has two definitions.
    """
    found: dict[str, Method] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or not _defines(entry):
            continue
        name = entry.get("method")
        require_name("methods.method", name)
        method = define_method(str(name), entry.get("output"), entry.get("feature"))
        if found.setdefault(method.name, method) != method:
            raise ValueError(f"methods: {name} must have one output and one feature loss but is defined in two ways")
    return found


def _defines(entry: Mapping[str, Any]) -> bool:
    return "output" in entry or ("feature" in entry and entry.get("method") not in METHODS)


def make_study_method(entry: Any, recipe: Raw, shape: DataShape, own: Mapping[str, Method]) -> Method:
    """A methods entry: a name of the table or of one that is defined, or {method: name, setting: value, ...}."""
    settings: Raw = {"method": entry} if isinstance(entry, str) else entry
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"methods must be among {', '.join((*METHODS, *own))}, or mappings with a key method, but got {entry!r}"
        )
    given = {key: value for key, value in settings.items() if key not in ("method", "assistant", "output")}
    name = str(settings.get("method"))
    method = make_method(name, {**recipe, **given}, num_elements=shape.num_elements, own=own)
    if not settings.get("assistant"):
        return method
    return via(method, require_text("methods.assistant", settings["assistant"], "the name of a teacher"))

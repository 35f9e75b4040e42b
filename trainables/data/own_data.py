"""A data source of a user's: data.source=module:name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from trainables import plugins
from trainables.checks import check_keys, make, require_text
from trainables.data.dataset import Dataset

_KEY = "data.source"


@dataclass(frozen=True, kw_only=True)
class OwnData:
    """What module:name, a frozen dataclass, makes of its settings; its `load()` returns a Dataset.

    `identity()`, JSON that says which images these are, is used where it has one; else every tensor of the data set is
    read for it. Only text goes to other processes, and each makes the source anew.
    """

    name: str
    source: str
    settings: str  # JSON
    code: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", plugins.code_digest(self.source))

    def identity(self) -> Any:
        return {"source": self.source, "code": self.code, "data": _identity(self)}

    def load(self) -> Dataset:
        """Raises ValueError where the source is another one here, or loads no data set."""
        plugins.require_same(_KEY, self.source, self.code)
        return _load(self)


def make_own_data(source: str, settings: Mapping[str, Any]) -> OwnData:
    """settings: the keys of `data` but for the source. Raises ValueError naming a key that the source does not have."""
    found = plugins.load(_KEY, source)
    if not isinstance(found, type) or not is_dataclass(found) or not callable(getattr(found, "load", None)):
        raise ValueError(f"{_KEY}={source} must be a dataclass with a method load() but is {found!r}")
    allowed = [one.name for one in fields(found)]
    label = settings.get("name") or source.rpartition(":")[2].lower()
    own = {key: value for key, value in settings.items() if key != "name" or "name" in allowed}
    check_keys("data", own, ["name", *allowed])
    make(found, "data", _hashable(own))  # refuses what the source refuses
    name = require_text("data.name", label, "a name")
    return OwnData(name=name, source=source, settings=json.dumps(own, sort_keys=True))


def _hashable(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def fresh_identity(spec: OwnData) -> Any:
    """What a source that is made and loaded anew says of itself: the same every time, if it is to be trusted."""
    return _identity_of(spec.source, _make(spec))


@cache
def _made(spec: OwnData) -> Any:
    return _make(spec)


def _make(spec: OwnData) -> Any:
    return make(plugins.load(_KEY, spec.source), "data", _hashable(json.loads(spec.settings)))


@cache
def _load(spec: OwnData) -> Dataset:
    return _loaded(spec.source, _made(spec))


def _loaded(path: str, source: Any) -> Dataset:
    found = source.load()
    if not isinstance(found, Dataset):
        raise ValueError(f"{_KEY}={path}: load() must return a Dataset but returned {type(found).__name__}")
    return found


@cache
def _identity(spec: OwnData) -> Any:
    source = _made(spec)
    return source.identity() if _says(source) else _digest(spec.source, _load(spec))


def _identity_of(path: str, source: Any) -> Any:
    return source.identity() if _says(source) else _digest(path, _loaded(path, source))


def _says(source: Any) -> bool:
    """Whether the source says itself which images it has."""
    return callable(getattr(source, "identity", None))


def _digest(source: str, data: Dataset) -> str:
    """sha256 over what a data set holds. Raises ValueError where a part of it is code, which says nothing of itself."""
    if data.posterior is not None or data.decoder is not None or data.references is not None:
        raise ValueError(f"{_KEY}={source} must have a method identity(), for its data set is of latents")
    digest = hashlib.sha256(json.dumps([data.num_classes, data.flip]).encode())
    groups = {"conditions": data.conditions, "null": data.null, "extra": data.extra_conditions}
    groups |= {"images": {"": data.images}, "evaluation": data.evaluation_conditions}
    for group, tensors in sorted(groups.items()):
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{group} {name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()

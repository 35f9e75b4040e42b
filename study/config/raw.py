"""A config as plain mappings and lists: what is in it, with what is wrong named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

Raw = Mapping[str, Any]
T = TypeVar("T")


def make(cls: type[T], key: str, raw: Raw, /, **own: str) -> T:
    """cls(**raw, **own) with unknown and missing keys of raw named."""
    allowed = [field.name for field in fields(cls) if field.name not in own]  # type: ignore[arg-type]
    check_keys(key, raw, allowed)
    try:
        return cls(**raw, **own)
    except TypeError as error:
        raise ValueError(f"{key} must have the keys {', '.join(allowed)} but got {', '.join(raw) or 'none'}") from error


def check_keys(key: str, raw: Raw, allowed: list[str]) -> None:
    for name in raw:
        if name not in allowed:
            raise ValueError(f"{key} has no key {name!r}; allowed: {', '.join(allowed) or 'none'}")


def mapping(raw: Raw, key: str, full_key: str | None = None) -> Raw:
    value = raw.get(key)
    if not isinstance(value, Mapping):
        raise ValueError(f"{full_key or key} must be a mapping of keys to values but got {value!r}")
    return value


def items(raw: Raw, key: str) -> list[Any]:
    value = raw.get(key)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{key} must be a list with at least one entry but got {value!r}")
    return value

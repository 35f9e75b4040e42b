"""Checks of what a user chose: each raises ValueError naming the key, the value and what is allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar


def require_choice(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)} but got {value!r}")


def require_whole(key: str, value: Any, low: int, high: int = 10**9) -> None:
    """Allows whole numbers from low to high, both included."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{key} must be a whole number from {low} to {high} but got {value!r}")


def require_number(
    key: str, value: Any, *, at_least: float | None = None, above: float | None = None, below: float = float("inf")
) -> None:
    """Allows finite numbers within the bounds."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and value < below
    if not fits or not (value >= at_least if at_least is not None else value > (above or 0.0)):
        bounds = [f"of {at_least:g} or more" if at_least is not None else f"above {above or 0.0:g}"]
        bounds += [f"below {below:g}"] if below < float("inf") else []
        raise ValueError(f"{key} must be a number {' and '.join(bounds)} but got {value!r}")


def require_text(key: str, value: Any, allowed: str) -> str:
    """The value, if it is a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be {allowed} but got {value!r}")
    return value


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

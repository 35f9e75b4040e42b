"""Checks of what a user chose: each raises ValueError naming the key, the value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Raw = Mapping[str, Any]
T = TypeVar("T")


def require_choice(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)} but got {value!r}{meant(value, allowed)}")


def require_device(key: str, value: object) -> None:
    """Allows cpu and cuda."""
    if value == "mps":
        raise ValueError(f"{key} must be cpu or cuda but got 'mps': Apple's GPU has no float64, which statistics need")
    require_choice(key, value, ("cpu", "cuda"))


def meant(value: object, allowed: Iterable[str]) -> str:
    """The end of a message: which of the allowed names is nearly the value, or nothing where none is."""
    near = difflib.get_close_matches(value, list(allowed), n=1, cutoff=0.7) if isinstance(value, str) else []
    return f"; did you mean {near[0]}?" if near else ""


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


def make(cls: type[T], key: str, raw: Raw, /, **own: str) -> T:
    """cls(**raw, **own). Raises ValueError for a key of raw that cls does not have, and for one that it needs."""
    known = [field for field in fields(cls) if field.init and field.name not in own]  # type: ignore[arg-type]
    check_keys(key, raw, [field.name for field in known])
    needed = [one.name for one in known if one.default is MISSING and one.default_factory is MISSING]
    require_keys(key, raw, needed)
    whole = {field.name for field in known if field.type in _WHOLE}
    return cls(**{name: _whole(value) if name in whole else value for name, value in raw.items()}, **own)


_WHOLE = ("int", "int | None", int, int | None)  # as annotations say it, with and without their evaluation


def _whole(value: Any) -> Any:
    """1e3 is the whole number 1000 where one is wanted."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_keys(key: str, raw: Raw, allowed: Sequence[str]) -> None:
    """Raises ValueError for a key of raw that is not allowed."""
    for name in raw:
        if name not in allowed:
            said = f"{key} has no key {name!r}; allowed: {', '.join(allowed) or 'none'}"
            raise ValueError(f"{said}{meant(name, allowed)}")


def require_keys(key: str, raw: Any, needed: Sequence[str]) -> Raw:
    """The value, if it is a mapping that has at least these keys."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"{key} must be a mapping of keys to values but got {raw!r}")
    for name in needed:
        if name not in raw:
            raise ValueError(f"{key} must have the keys {', '.join(needed)} but lacks {name}")
    return raw


def mapping(raw: Raw, key: str, full_key: str | None = None) -> Raw:
    """The mapping at a key of raw; full_key: what messages call it."""
    return require_keys(full_key or key, raw.get(key), ())


def items(raw: Raw, key: str) -> list[Any]:
    """The list at a key of raw, which must not be empty."""
    value = raw.get(key)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{key} must be a list with at least one entry but got {value!r}")
    return value

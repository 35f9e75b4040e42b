"""Checks of what a user chose: each raises ValueError naming the key, the value and what is allowed."""

from collections.abc import Sequence
from typing import Any


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

"""What a contract test found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A contract and what was seen of it. holds: None where nothing is asked, and it is only said."""

    contract: str
    seen: str
    holds: bool | None

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "FAIL", None: "note"}[self.holds]
        return f"{mark}  {self.contract}: {self.seen}"


def tried(contract: str, look: Callable[[], Finding | str]) -> Finding:
    """What `look` finds, where text says that the contract holds; an exception is a finding as well."""
    try:
        found = look()
    except Exception as error:  # a user's code fails in whatever way
        return Finding(contract, f"{type(error).__name__}: {' '.join(str(error).split())}", False)
    return found if isinstance(found, Finding) else Finding(contract, found, True)


def expected(contract: str, holds: bool, seen: str) -> Finding:
    return Finding(contract, seen, holds)

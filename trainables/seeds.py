"""Randomness that is addressed, not consumed: a generator follows from what it is for, never from what ran before."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derived_seed(*key: int | str) -> int:
    """A 63-bit seed that follows from the key alone, e.g. derived_seed(seed, "noise", step)."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def derived_generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by `derived_seed(*key)`."""
    import torch

    return torch.Generator().manual_seed(derived_seed(*key))

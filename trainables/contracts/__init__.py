"""What code of a user's own must hold, tried on small tensors: `kd-study check module:name`."""

from trainables.contracts.check import check

__all__ = ["check"]

"""How a pack is trained: settings that decide time and memory, and change neither members nor what comes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.checks import require_whole

if TYPE_CHECKING:
    import torch

_AHEAD_ON_GPU = 2  # batches


@dataclass(frozen=True, kw_only=True)
class Execution:
    """prefetch: batches that a thread draws ahead; None: 2 on a GPU, none on a CPU, which has the work to do itself.
    gradient_accumulation: the parts that a rank's share of a batch is cut into; activations are of one part at a time.
    activation_checkpointing: activations within a student's blocks are computed again for the backward pass.
    """

    prefetch: int | None = None
    gradient_accumulation: int = 1
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.prefetch is not None:
            require_whole("pack.prefetch", self.prefetch, 0, 100)
        require_whole("pack.gradient_accumulation", self.gradient_accumulation, 1)
        if not isinstance(self.activation_checkpointing, bool):
            raise ValueError(
                f"pack.activation_checkpointing must be true or false but got {self.activation_checkpointing!r}"
            )

    def batches_ahead(self, device: torch.device) -> int:
        """How many batches are drawn ahead on this device."""
        if self.prefetch is not None:
            return self.prefetch
        return _AHEAD_ON_GPU if device.type == "cuda" else 0


BY_DEFAULT = Execution()

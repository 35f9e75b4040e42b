"""How a pack is trained: settings that decide time and memory and belong to no member.

What comes of a member does not hang on them, but for `fused`: that changes the last bits, and rows say it.
"""

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
    fused: whether members that share an architecture train as one program; None: on a GPU, where nothing forbids it.
    """

    prefetch: int | None = None
    gradient_accumulation: int = 1
    activation_checkpointing: bool = False
    fused: bool | None = None

    def __post_init__(self) -> None:
        if self.prefetch is not None:
            require_whole("pack.prefetch", self.prefetch, 0, 100)
        require_whole("pack.gradient_accumulation", self.gradient_accumulation, 1)
        if not isinstance(self.activation_checkpointing, bool):
            raise ValueError(
                f"pack.activation_checkpointing must be true or false but got {self.activation_checkpointing!r}"
            )
        if self.fused not in (None, True, False) or (isinstance(self.fused, int) and not isinstance(self.fused, bool)):
            raise ValueError(f"pack.fused must be null, true or false but got {self.fused!r}")

    def batches_ahead(self, device: torch.device) -> int:
        """How many batches are drawn ahead on this device."""
        if self.prefetch is not None:
            return self.prefetch
        return _AHEAD_ON_GPU if device.type == "cuda" else 0

    def fuses(self, device: torch.device, num_workers: int) -> bool:
        """Whether packs are fused on this device in a group of so many workers. Raises ValueError as `check_fused`."""
        self.check_fused(num_workers)
        return bool(self.fused) or (self.fused is None and device.type == "cuda" and not self._against(num_workers))

    def check_fused(self, num_workers: int) -> None:
        """Raises ValueError where packs must be fused and cannot."""
        reason = self._against(num_workers)
        if self.fused and reason:
            raise ValueError(f"pack.fused must be null or false with {reason} but got true")

    def _against(self, num_workers: int) -> str:
        """The setting that a fused pack does not know."""
        if num_workers > 1:
            return f"cluster.num_workers={num_workers}"
        if self.gradient_accumulation > 1:
            return f"pack.gradient_accumulation={self.gradient_accumulation}"
        return "pack.activation_checkpointing=true" if self.activation_checkpointing else ""


BY_DEFAULT = Execution()

"""How matrix products and convolutions are computed: in float32, in TF32, or in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FLOAT32, TF32, BF16 = "float32", "tf32", "bf16"
MATMULS = (FLOAT32, TF32, BF16)


@contextmanager
def matrix_products(matmul: str) -> Iterator[None]:
    """Inside, those of float32 tensors on a GPU take all of their bits, or those of TF32 where matmul says so.

    Torch's own default is TF32 in convolutions alone. On a CPU nothing changes.
    """
    import torch

    backends: Any = torch.backends
    settings = (backends.cuda.matmul, backends.cudnn.conv)
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = TF32 if matmul == TF32 else "ieee"
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def narrowed(matmul: str, device: torch.device) -> Any:
    """A context for the passes of models, and for nothing else: with bf16, their products take bfloat16 operands.

    Weights stay as they are; they are narrowed at every use, for a cache of narrow copies would outlive an update.
    """
    if matmul != BF16:
        return nullcontext()
    import torch

    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def require_gpu_for(matmul: str, device: str, key: str = "train") -> None:
    """Raises ValueError for TF32 on a CPU, which has none: rows would say what was not done."""
    if matmul == TF32 and device == "cpu":
        raise ValueError(f"{key}.matmul must be {FLOAT32} or {BF16} where workers have no GPU but got {TF32!r}")

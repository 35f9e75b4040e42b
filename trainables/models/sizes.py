"""Parameters and multiply-accumulate operations, counted by torch itself for every model.

torch is loaded when something is counted: sizes that are known already need none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.data.dataset import CLASSES, POOLED, TEXT, DataShape
from trainables.specs import StudentSpec, canonical_json

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Size:
    """How large a model is: parameters, and MACs of one forward pass over one image."""

    params: int
    macs: int


_SIZES: dict[str, Size] = {}  # of what was counted in this process, or by the one that planned the study


def count(spec: StudentSpec, shape: DataShape) -> Size:
    """The size of the model that the spec describes, from its shapes alone (meta device)."""
    key = _key(spec, shape)
    if key not in _SIZES:
        from trainables.models.build import build_model

        _SIZES[key] = count_model(build_model(spec, shape, seed=0, device="meta"), shape)
    return _SIZES[key]


def counted(specs: Iterable[StudentSpec], shape: DataShape) -> dict[str, Size]:
    """The sizes of the models, by all that they follow from: what `know` takes."""
    return {_key(spec, shape): count(spec, shape) for spec in specs}


def know(sizes: Mapping[str, Size]) -> None:
    """From now on `count` takes these sizes, which `counted` gave, as counted."""
    _SIZES.update(sizes)


def _key(spec: StudentSpec, shape: DataShape) -> str:
    return canonical_json({**spec.identity(), "shape": repr(shape)})


def count_model(model: nn.Module, shape: DataShape) -> Size:
    """The size of a model at hand. torch counts a multiply-accumulate as two floating-point operations."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from trainables.families import predict

    parameter = next(model.parameters())
    x_t, time, condition = example_inputs(shape, 1, parameter.device, parameter.dtype)
    # Fused attention on the CPU counts as nothing, so it is taken apart.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        predict(model, x_t, time, condition)
    return Size(sum(parameter.numel() for parameter in model.parameters()), flops.get_total_flops() // 2)


def example_inputs(
    shape: DataShape, batch_size: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """x_t, time and condition as `predict` takes them, all zero."""
    import torch

    sizes = {TEXT: shape.text, POOLED: None if shape.pooled is None else (shape.pooled,)}
    condition = {
        name: torch.zeros((batch_size, *size), device=device, dtype=dtype) for name, size in sizes.items() if size
    }
    if shape.num_classes is not None:
        condition[CLASSES] = torch.zeros(batch_size, dtype=torch.int64, device=device)
    x_t = torch.zeros((batch_size, *shape.image), device=device, dtype=dtype)
    return x_t, torch.zeros(batch_size, dtype=torch.int64, device=device), condition

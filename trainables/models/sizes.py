"""Parameters and multiply-accumulate operations, counted by torch itself for every model."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainables.data.dataset import CLASSES, POOLED, TEXT, DataShape
from trainables.families import predict
from trainables.models.build import architecture, build_model
from trainables.specs import StudentSpec, canonical_json


@dataclass(frozen=True)
class Size:
    """How large a model is: parameters, and MACs of one forward pass over one image."""

    params: int
    macs: int


_SIZES: dict[str, Size] = {}  # of what was counted in this process


def count(spec: StudentSpec, shape: DataShape) -> Size:
    """The size of the model that the spec describes, from its shapes alone (meta device)."""
    model = architecture(spec, shape)
    key = canonical_json({**model.identity(), "shape": repr(shape)})
    if key not in _SIZES:
        _SIZES[key] = count_model(build_model(model, shape, seed=0, device="meta"), shape)
    return _SIZES[key]


def count_model(model: nn.Module, shape: DataShape) -> Size:
    """The size of a model at hand. torch counts a multiply-accumulate as two floating-point operations."""
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
    sizes = {TEXT: shape.text, POOLED: None if shape.pooled is None else (shape.pooled,)}
    condition = {
        name: torch.zeros((batch_size, *size), device=device, dtype=dtype) for name, size in sizes.items() if size
    }
    if shape.num_classes is not None:
        condition[CLASSES] = torch.zeros(batch_size, dtype=torch.int64, device=device)
    x_t = torch.zeros((batch_size, *shape.image), device=device, dtype=dtype)
    return x_t, torch.zeros(batch_size, dtype=torch.int64, device=device), condition

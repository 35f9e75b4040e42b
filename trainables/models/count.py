"""Parameters and multiply-accumulate operations, counted by torch itself for every model."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainables.models.build import build_model
from trainables.specs import ModelSpec


@dataclass(frozen=True)
class Size:
    """How large a model is: parameters, and MACs of one forward pass over one image."""

    params: int
    macs: int


def count(spec: ModelSpec, image_shape: tuple[int, int, int]) -> Size:
    """The size of the model that the spec describes, from its shapes alone (meta device)."""
    return count_model(build_model(spec, image_shape, seed=0, device="meta"), image_shape)


def count_model(model: nn.Module, image_shape: tuple[int, int, int]) -> Size:
    """The size of a model at hand. torch counts a multiply-accumulate as two floating-point operations."""
    device = next(model.parameters()).device
    x, t = torch.empty((1, *image_shape), device=device), torch.zeros((1,), dtype=torch.int64, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(x, t)
    return Size(sum(parameter.numel() for parameter in model.parameters()), flops.get_total_flops() // 2)

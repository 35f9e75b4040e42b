"""Gradients by central differences."""

from collections.abc import Callable

import torch


def numerical_gradient(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, step: float = 1e-6
) -> torch.Tensor:
    """Central differences of a scalar function, one element at a time, in the shape of x (float64)."""
    gradient = torch.empty_like(x)
    for i in range(x.numel()):
        values = []
        for sign in (1, -1):
            moved = x.clone()
            moved.view(-1)[i] += sign * step
            values.append(function(moved))
        gradient.view(-1)[i] = (values[0] - values[1]) / (2 * step)
    return gradient

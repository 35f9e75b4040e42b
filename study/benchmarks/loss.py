"""LIFT+PLACE, forward and backward, against plain MSE and against a straightforward reading of the formulas."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from study.benchmarks.measuring import Options, Result, take_turns
from study.benchmarks.plain_lift_place import plain_loss, relative_error
from trainables.losses.lift_place import lift_place_loss

SHAPES = ((64, 1, 8, 8), (32, 3, 32, 32), (32, 3, 64, 64), (8, 4, 64, 64), (4, 3, 256, 256))
GROUP_SIZES = (16, 64)


def run(options: Options) -> Result:
    """Milliseconds of one forward and backward pass; `speedup`: the plain reading's time over ours."""
    rows = [measure(shape, group_size, options) for shape in SHAPES for group_size in GROUP_SIZES]
    speedups = {row["shape"]: row["speedup"] for row in rows if row["K"] == 16}
    return Result(rows, {f"loss_speedup_{shape}": speedup for shape, speedup in speedups.items()})


def measure(shape: tuple[int, int, int, int], group_size: int, options: Options) -> dict[str, Any]:
    """One row of the table: times, and how far the two losses and gradients are apart."""
    student, teacher = (x.to(options.device) for x in _outputs(shape))
    student.requires_grad_()

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        loss = lift_place_loss(student, teacher, group_size=group_size)
        return loss.detach(), torch.autograd.grad(loss, student)[0]

    def plain() -> tuple[torch.Tensor, torch.Tensor]:
        loss = plain_loss(student, teacher, group_size=group_size)
        return loss.detach(), torch.autograd.grad(loss, student)[0]

    def mse() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(functional.mse_loss(student, teacher, reduction="sum"), student)

    (our_loss, our_gradient), (its_loss, its_gradient) = ours(), plain()
    times = take_turns({"ours": ours, "plain": plain, "mse": mse}, options, inner=max(1, 200_000 // teacher.numel()))
    return {
        "shape": "x".join(map(str, shape)),
        "K": group_size,
        "mse_ms": 1e3 * times["mse"].seconds,
        "plain_ms": 1e3 * times["plain"].seconds,
        "lift_place_ms": 1e3 * times["ours"].seconds,
        "speedup": times["plain"].over(times["ours"]),
        "loss_difference": abs(float(our_loss / its_loss) - 1),
        "gradient_difference": relative_error(our_gradient, its_gradient),
    }


def _outputs(shape: tuple[int, int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs whose errors are all different within a channel: among equal ones the order is arbitrary."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(shape, generator=generator)
    ranks = torch.rand(shape, generator=generator).flatten(2).argsort(dim=2).view(shape)
    signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    return teacher - signs * (ranks + 1) * (0.5 / ranks[0, 0].numel()), teacher

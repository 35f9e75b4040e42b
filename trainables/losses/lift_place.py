"""LIFT and PLACE (CVPR 2026, arXiv 2605.19729): align the student to the teacher group by group, coarse to fine.

Shapes: B batch, C channels, H height, W width, K elements per group, G = H*W / K groups.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from trainables.losses.settings import COARSE_NORMS, GATES, PARTS, REDUCTIONS, check_group_size

# Averages a tensor over all ranks of a data-parallel group.
RankMean = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class LiftPlaceTerms:
    """What one evaluation of the objective gives; every field is a scalar tensor on the device of the inputs."""

    loss: torch.Tensor  # differentiable in the student
    gate: torch.Tensor  # weight of the fine part, in [0, 1]
    slope_error: torch.Tensor  # mean |a - 1| over the global batch
    intercept_error: torch.Tensor  # mean |b| over the global batch


def lift_place_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    *,
    group_size: int,
    coarse_norm: str = "l1",
    part: str = "full",
    reduction: str = "sum",
    gate: str = "adaptive",
    eps: float = 1e-7,
) -> torch.Tensor:
    """The LIFT loss over PLACE groups as a scalar tensor; see `lift_place_terms`."""
    terms = lift_place_terms(
        student,
        teacher,
        group_size=group_size,
        coarse_norm=coarse_norm,
        part=part,
        reduction=reduction,
        gate=gate,
        eps=eps,
    )
    return terms.loss


def lift_place_terms(
    student: torch.Tensor,
    teacher: torch.Tensor,
    *,
    group_size: int,
    coarse_norm: str = "l1",
    part: str = "full",
    reduction: str = "sum",
    gate: str = "adaptive",
    eps: float = 1e-7,
    progress: float | torch.Tensor = 0.0,
    rank_mean: RankMean | None = None,
) -> LiftPlaceTerms:
    """L = mean_batch(coarse) + gate * mean_batch(fine), the objective of LIFT over the groups of PLACE.

    student, teacher: outputs (B, C, H, W) on the same noisy input; gradients flow to the student alone, and neither
    through the sort nor through the gate. group_size: elements per group (K); it must divide H*W, and K = H*W is LIFT
    without PLACE. coarse_norm: norm of (a - 1, b). part: `coarse` or `fine` alone, or `full`. reduction: `mean` divides
    by C*H*W. gate: `adaptive` is 1 - min(1, mean|a - 1| + mean|b|); `cosine` and `linear` rise with `progress` (the
    share of training that is done, 0 .. 1); `constant` is 1. rank_mean averages over ranks, so that N ranks equal one.
    Raises ValueError for a setting that is not allowed.
    """
    _check_choice("coarse_norm", coarse_norm, COARSE_NORMS)
    _check_choice("part", part, PARTS)
    _check_choice("reduction", reduction, REDUCTIONS)
    _check_choice("gate", gate, GATES)
    if student.shape != teacher.shape or student.ndim != 4:
        raise ValueError(
            f"student and teacher must be of one shape (B, C, H, W) but got {tuple(student.shape)}"
            f" and {tuple(teacher.shape)}"
        )
    check_group_size(group_size, student.shape[2] * student.shape[3])
    loss, *statistics = _LiftPlace.apply(  # type: ignore[no-untyped-call]
        student, teacher.detach(), group_size, coarse_norm, part, reduction, gate, eps, progress, rank_mean
    )
    return LiftPlaceTerms(loss, *statistics)


def place_groups(student: torch.Tensor, teacher: torch.Tensor, group_size: int) -> torch.Tensor:
    """Which group of PLACE each element belongs to, int64 (B, C, H, W): 0 holds those with the smallest error."""
    order = _order_by_error(student.flatten(2), teacher.flatten(2))
    ranks = torch.arange(order.shape[2], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(2, order, ranks).div(group_size, rounding_mode="floor").view_as(student)


def _order_by_error(s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The order of the elements (B, C, H*W) by ascending (t - s)^2."""
    error = (t - s).square_()
    if error.device.type != "cpu" or error.dtype != torch.float32:
        return error.argsort(dim=2)
    # Half the time of argsort: one sort of 64-bit keys, the bits of a float32 (not negative) above and its place below.
    keys = error.view(torch.int32).to(torch.int64).bitwise_left_shift_(32)
    keys |= torch.arange(keys.shape[2])
    keys.numpy().sort(axis=2)
    return keys.bitwise_and_(0xFFFFFFFF)


def _check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)} but got {value!r}")


class _LiftPlace(torch.autograd.Function):
    """Loss and gradient in one pass over the sorted elements.

    With ds = s - mean_s and dt = t - mean_t the fitted line leaves the residual a*ds - dt, and the gradient of every
    part is linear in ds and dt within a group:
        d a / d s_i = (dt_i - 2 a ds_i) / (K (var + eps)),   d b / d s_i = -a / K - mean_s * d a / d s_i,
        d fine / d s_i = 2 a (a ds_i - dt_i)                 (a and b held).
    So the graph of sort, gather and moments is never stored.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd passes arguments by position)
        ctx: Any,
        student: torch.Tensor,
        teacher: torch.Tensor,
        group_size: int,
        coarse_norm: str,
        part: str,
        reduction: str,
        gate: str,
        eps: float,
        progress: float | torch.Tensor,
        rank_mean: RankMean | None,
    ) -> tuple[torch.Tensor, ...]:
        compute_dtype = torch.promote_types(student.dtype, torch.float32)
        s, t = student.to(compute_dtype).flatten(2), teacher.to(compute_dtype).flatten(2)  # B, C, H*W
        order = None if group_size == s.shape[2] else _order_by_error(s, t)
        ds, dt = _grouped(s, order, group_size), _grouped(t, order, group_size)  # B, C, G, K
        mean_s, mean_t = ds.mean(dim=3, keepdim=True), dt.mean(dim=3, keepdim=True)
        ds, dt = ds - mean_s, dt - mean_t
        denominator = ds.square().mean(dim=3, keepdim=True) + eps
        a = (ds * dt).mean(dim=3, keepdim=True) / denominator
        b = mean_t - a * mean_s

        slope_error, intercept_error = (a - 1).abs().mean(), b.abs().mean()
        if rank_mean is not None:
            slope_error, intercept_error = rank_mean(torch.stack([slope_error, intercept_error])).unbind()
        weight = _gate(gate, slope_error, intercept_error, progress)
        scale = 1.0 / s.shape[0] if reduction == "sum" else 1.0 / s.numel()
        coarse_weight = scale if part != "fine" else 0.0
        fine_weight = {"full": weight, "fine": torch.ones_like(weight), "coarse": torch.zeros_like(weight)}[
            part
        ] * scale

        if coarse_norm == "l1":
            coarse = (a - 1).abs() + b.abs()
            grad_a, grad_b = (a - 1).sign(), b.sign()
        else:
            coarse = (a - 1).square() + b.square()
            grad_a, grad_b = 2 * (a - 1), 2 * b
        residual = a * ds - dt
        loss = coarse_weight * group_size * coarse.sum() + fine_weight * residual.square().sum()
        if ctx.needs_input_grad[0]:
            through_a = coarse_weight * (grad_a - grad_b * mean_s) / denominator
            gradient = (
                through_a * dt
                - (2 * a * through_a) * ds
                - coarse_weight * grad_b * a
                + (2 * fine_weight * a) * residual
            )
            gradient = gradient.flatten(2)
            if order is not None:
                gradient = torch.empty_like(gradient).scatter_(2, order, gradient)
            ctx.student_dtype = student.dtype
            ctx.save_for_backward(gradient.view_as(student))
        ctx.mark_non_differentiable(weight, slope_error, intercept_error)
        return loss, weight, slope_error, intercept_error

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        # Narrowed last: the factor of a loss scaler does not fit float16, nor does a gradient before it is scaled down.
        return ((gradient * grad_loss).to(ctx.student_dtype), *[None] * 9)


def _grouped(x: torch.Tensor, order: torch.Tensor | None, group_size: int) -> torch.Tensor:
    """Elements (B, C, H*W) in the given order, cut into groups (B, C, G, K)."""
    if order is not None:
        x = x.gather(2, order)
    return x.view(*x.shape[:2], -1, group_size)


def _gate(
    gate: str, slope_error: torch.Tensor, intercept_error: torch.Tensor, progress: float | torch.Tensor
) -> torch.Tensor:
    if gate == "adaptive":
        return 1 - (slope_error + intercept_error).clamp(max=1)
    share = progress.to(slope_error) if isinstance(progress, torch.Tensor) else progress
    rise = torch.cos(math.pi * share) if isinstance(share, torch.Tensor) else math.cos(math.pi * share)
    value = {"constant": 1.0, "linear": share, "cosine": (1 - rise) / 2}[gate]
    return value.clone() if isinstance(value, torch.Tensor) else torch.full_like(slope_error, value)

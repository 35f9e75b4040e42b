"""An independent, slow and plain reading of LIFT and PLACE (CVPR 2026, arXiv 2605.19729), differentiated by autograd.

Shapes: B batch, C channels, H height, W width, K elements per group, G = H*W / K groups.
"""

import torch


def grouped(student: torch.Tensor, teacher: torch.Tensor, group_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both (B, C, H, W), sorted per channel by squared error and cut into groups: (B, C, G, K) each."""
    s, t = student.flatten(2), teacher.flatten(2)
    order = (t - s).detach().square().argsort(dim=2)
    shape = (*s.shape[:2], -1, group_size)
    return torch.take_along_dim(s, order, dim=2).view(shape), torch.take_along_dim(t, order, dim=2).view(shape)


def fit_lines(s: torch.Tensor, t: torch.Tensor, eps: float = 1e-7) -> tuple[torch.Tensor, torch.Tensor]:
    """Slope a and intercept b (B, C, G, 1) of t ~ a*s + b in every group of (B, C, G, K)."""
    mean_s, mean_t = s.mean(3, keepdim=True), t.mean(3, keepdim=True)
    covariance = (s * t).mean(3, keepdim=True) - mean_s * mean_t
    a = covariance / (s.var(3, correction=0, keepdim=True) + eps)
    return a, mean_t - a * mean_s


def plain_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    *,
    group_size: int,
    coarse_norm: str = "l1",
    part: str = "full",
    reduction: str = "sum",
    eps: float = 1e-7,
    gate: float | None = None,
    held: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """The loss as a scalar. gate: its value, None for the adaptive one. held: (a, b, gate) where no gradient flows."""
    s, t = grouped(student, teacher, group_size)
    a, b = fit_lines(s, t, eps)
    stop_a, stop_b, stop_gate = held if held is not None else (a.detach(), b.detach(), adaptive_gate(a, b))
    errors = (a - 1).abs() + b.abs() if coarse_norm == "l1" else (a - 1) ** 2 + b**2
    num_samples = student.shape[0]
    coarse = group_size * errors.sum() / num_samples
    fine = ((stop_a * s + stop_b - t) ** 2).sum() / num_samples
    if reduction == "mean":
        coarse, fine = coarse / student[0].numel(), fine / student[0].numel()
    weight = stop_gate if gate is None else gate
    return {"coarse": coarse, "fine": fine, "full": coarse + weight * fine}[part]


def adaptive_gate(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """1 - min(1, mean |a - 1| + mean |b|), without a gradient."""
    return (1 - torch.clamp((a - 1).abs().mean() + b.abs().mean(), max=1)).detach()


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """||actual - expected|| / ||expected||."""
    return float((actual - expected).norm() / expected.norm())

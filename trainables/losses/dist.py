"""DIST (Huang et al. 2022, arXiv 2205.10536) over a noise predictor's outputs (trainables/README.md, Output losses).

Shapes: B batch, D = C*H*W elements of an output.
"""

import torch

from trainables.losses.lift_place import RankMean

_EPS = 1e-8


def dist_loss(
    student: torch.Tensor, teacher: torch.Tensor, *, reduction: str = "sum", rank_mean: RankMean | None = None
) -> torch.Tensor:
    """One minus the mean correlation within samples, plus one minus that over the batch at a position: a scalar tensor.

    student, teacher: outputs (B, C, H, W). A correlation has no size, so `sum` is C*H*W times what `mean` gives: the
    lambdas mean the same as for the other output losses. rank_mean averages over ranks: the batch is the global one.
    """
    s, t = student.flatten(1), teacher.detach().flatten(1)  # B, D
    loss = 2 - _within_samples(s, t) - _over_batch(s, t, rank_mean)
    return loss if reduction == "mean" else loss * s.shape[1]


def _within_samples(s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    s, t = s - s.mean(dim=1, keepdim=True), t - t.mean(dim=1, keepdim=True)
    return torch.cosine_similarity(s, t, dim=1, eps=_EPS).mean()


def _over_batch(s: torch.Tensor, t: torch.Tensor, rank_mean: RankMean | None) -> torch.Tensor:
    """Mean over positions of the correlation over the global batch.

    With the moments of all ranks held, d r / d s_i = (z_t - r z_s) / (B std_s), z standardised values. A rank divides
    by its own B, for data-parallel training averages the gradients over ranks.
    """
    mean: RankMean = rank_mean or (lambda values: values)
    with torch.no_grad():
        means = mean(torch.stack([s.mean(dim=0), t.mean(dim=0)]))
        ds, dt = s - means[0], t - means[1]
        moments = mean(torch.stack([(ds * ds).mean(dim=0), (dt * dt).mean(dim=0), (ds * dt).mean(dim=0)]))
        std = moments[:2].sqrt().clamp(min=_EPS)
        std_s, std_t = std[0], std[1]
        r = moments[2] / (std_s * std_t)
        gradient = (dt / std_t - r * ds / std_s) / (s.numel() * std_s)
        value = r.mean()
    linear = (gradient * s).sum()
    return value + linear - linear.detach()

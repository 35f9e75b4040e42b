"""The variational terms that train a learned variance (Nichol and Dhariwal 2021, equations 14 to 16).

Shapes: B batch, C channels, H height, W width.
"""

import math
from dataclasses import dataclass

import torch

from trainables.process import Process

_NUM_LEVELS = 255  # of x_0 in [-1, 1], for the likelihood of the last step
_FLOOR = 1e-12


@dataclass(frozen=True)
class _Posterior:
    """q(x_{t-1} | x_t, x_0) at timesteps of a batch; each (B, 1, 1, 1)."""

    of_x_0: torch.Tensor  # the mean is of_x_0 * x_0 + of_x_t * x_t, equation 11
    of_x_t: torch.Tensor
    log_beta: torch.Tensor
    log_variance: torch.Tensor  # log beta~_t; at t = 0, where that is 0, the one of t = 1

    @classmethod
    def at(cls, process: Process, t: torch.Tensor, dtype: torch.dtype) -> "_Posterior":
        beta = process.betas_on(t.device)
        abar = (1 - beta).cumprod(0)
        before = torch.cat([abar.new_ones(1), abar[:-1]])
        variance = (1 - before) / (1 - abar) * beta
        variance[0] = variance[1]
        values = (
            before.sqrt() * beta / (1 - abar),
            (1 - beta).sqrt() * (1 - before) / (1 - abar),
            beta.log(),
            variance.log(),
        )
        return cls(*(value[t].view(-1, 1, 1, 1).to(dtype) for value in values))

    def mean(self, x_0: torch.Tensor, x_t: torch.Tensor) -> torch.Tensor:
        return self.of_x_0 * x_0 + self.of_x_t * x_t

    def learned(self, variance: torch.Tensor) -> torch.Tensor:
        """The log variance that an output v in [-1, 1] says: log beta~_t for -1, log beta_t for 1 (equation 15)."""
        share = (variance + 1) / 2
        return share * self.log_beta + (1 - share) * self.log_variance


def variational_loss(
    process: Process,
    prediction: torch.Tensor,
    variance: torch.Tensor,
    *,
    x_0: torch.Tensor | None,
    x_t: torch.Tensor,
    t: torch.Tensor,
    reduction: str,
    teacher: tuple[torch.Tensor, torch.Tensor] | None = None,
    matching: torch.Tensor | None = None,
) -> torch.Tensor:
    """L_vlb in bits per dimension; the prediction gets no gradient from it (equation 16 and what follows it).

    prediction, variance, x_0, x_t: (B, C, H, W), the variance as in `_Posterior.learned`. t: (B,). For t > 0 it is the
    KL divergence of the true posterior and the model's, for t = 0 the negative log likelihood of x_0 in 256 levels.
    teacher: its prediction and variance; then the divergence is that of the teacher's posterior and the model's (the
    vb_kd of TinyFusion, Fang et al. 2025). Without an x_0, which only a teacher allows, that is the term of t = 0 too.
    matching (B,): which samples count, the others being 0 in the mean over the batch; None: all. `sum` adds up the
    elements, `mean` averages them; both are averaged over the batch.
    """
    posterior = _Posterior.at(process, t, x_t.dtype)
    mean = posterior.mean(process.clean(x_t, prediction.detach(), t), x_t)
    log_variance = posterior.learned(variance)
    if teacher is not None:
        true_mean = posterior.mean(process.clean(x_t, teacher[0], t), x_t)
        true_log_variance = posterior.learned(teacher[1])
    else:
        assert x_0 is not None
        true_mean, true_log_variance = posterior.mean(x_0, x_t), posterior.log_variance
    losses = _divergence(true_mean, true_log_variance, mean, log_variance)
    if x_0 is not None:
        likelihood = -_log_likelihood(x_0, mean, 0.5 * log_variance)
        losses = torch.where(t.view(-1, 1, 1, 1) == 0, likelihood, losses)
    losses = losses / math.log(2) * (1 if matching is None else matching.view(-1, 1, 1, 1))
    return losses.mean() if reduction == "mean" else losses.sum() / len(losses)


def _divergence(
    true_mean: torch.Tensor, true_log_variance: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor
) -> torch.Tensor:
    """KL of two Gaussians, by element, in nats."""
    of_spreads = log_variance - true_log_variance - 1 + (true_log_variance - log_variance).exp()
    return 0.5 * (of_spreads + (true_mean - mean).square() * (-log_variance).exp())


def _log_likelihood(x_0: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Of the level of x_0 under a Gaussian (Ho et al. 2020, equation 13)."""
    centred, scale, half = x_0 - mean, log_scale.exp(), 1 / _NUM_LEVELS
    above, below = _normal_cdf((centred + half) / scale), _normal_cdf((centred - half) / scale)
    inner = (above - below).clamp(min=_FLOOR).log()
    at_bottom, at_top = above.clamp(min=_FLOOR).log(), (1 - below).clamp(min=_FLOOR).log()
    return torch.where(x_0 < -0.999, at_bottom, torch.where(x_0 > 0.999, at_top, inner))


def _normal_cdf(x: torch.Tensor) -> torch.Tensor:
    """Within 2e-4, by the tanh (Page 1977) that the published training code has: the exact one moves L_vlb by 2e-4."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

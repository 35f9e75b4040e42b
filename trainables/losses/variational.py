"""The variational term that trains a learned variance (Nichol and Dhariwal 2021, equations 14 to 16).

Shapes: B batch, C channels, H height, W width.
"""

import math

import torch

from trainables.process import Process

_NUM_LEVELS = 255  # of x_0 in [-1, 1], for the likelihood of the last step


def variational_loss(
    process: Process,
    prediction: torch.Tensor,
    variance: torch.Tensor,
    *,
    x_0: torch.Tensor,
    x_t: torch.Tensor,
    t: torch.Tensor,
    reduction: str,
) -> torch.Tensor:
    """L_vlb in bits per dimension; the prediction gets no gradient from it (equation 16 and what follows it).

    prediction, variance, x_0, x_t: (B, C, H, W); variance v interpolates the log variance between log beta~_t (v = -1)
    and log beta_t (v = 1), equation 15 with v in [-1, 1] as in the published DiT. t: (B,). For t > 0 it is the KL
    divergence of the true posterior and the model's, for t = 0 the negative log likelihood of x_0 in 256 levels.
    `sum` adds up the elements, `mean` averages them; both are averaged over the batch.
    """
    alphas = process.alphas_cumprod.to(x_t.device, torch.float64)
    abar = alphas[t].view(-1, 1, 1, 1).to(x_t.dtype)
    before = torch.cat([torch.ones(1, dtype=torch.float64, device=alphas.device), alphas[:-1]])
    abar_before = before[t].view(-1, 1, 1, 1).to(x_t.dtype)
    beta = (1 - alphas / before)[t].view(-1, 1, 1, 1).to(x_t.dtype)
    posterior = (1 - alphas.roll(1)) / (1 - alphas) * (1 - alphas / before)
    posterior[0] = posterior[1]  # it is 0, whose logarithm nobody wants
    log_posterior = posterior[t].log().view(-1, 1, 1, 1).to(x_t.dtype)

    def mean_given(x_0: torch.Tensor) -> torch.Tensor:
        """Of q(x_{t-1} | x_t, x_0), equation 11 of Nichol and Dhariwal (2021)."""
        return abar_before.sqrt() * beta / (1 - abar) * x_0 + (1 - beta).sqrt() * (1 - abar_before) / (1 - abar) * x_t

    predicted_x_0 = process.clean(x_t, prediction.detach(), t)
    share = (variance + 1) / 2
    log_variance = share * beta.log() + (1 - share) * log_posterior
    true_mean, mean = mean_given(x_0), mean_given(predicted_x_0)
    divergence = 0.5 * (
        log_variance
        - log_posterior
        - 1
        + (log_posterior - log_variance).exp()
        + (true_mean - mean).square() * (-log_variance).exp()
    )
    likelihood = -_log_likelihood(x_0, mean, 0.5 * log_variance)
    losses = torch.where(t.view(-1, 1, 1, 1) == 0, likelihood, divergence) / math.log(2)
    return losses.mean() if reduction == "mean" else losses.sum() / len(losses)


def _log_likelihood(x_0: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Of the level of x_0 under a Gaussian (Ho et al. 2020, equation 13)."""
    centred, scale, half = x_0 - mean, log_scale.exp(), 1 / _NUM_LEVELS
    above = torch.special.ndtr((centred + half) / scale)
    below = torch.special.ndtr((centred - half) / scale)
    floor = 1e-12
    inner = (above - below).clamp(min=floor).log()
    at_bottom, at_top = above.clamp(min=floor).log(), (1 - below).clamp(min=floor).log()
    return torch.where(x_0 < -0.999, at_bottom, torch.where(x_0 > 0.999, at_top, inner))

"""The term of a learned variance, against the distributions that it is about."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from trainables.losses.variational import variational_loss
from trainables.process import PIXEL

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
ABAR = (1 - BETAS).cumprod(0)


def drawn(num: int) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(0)
    x_0 = torch.rand((num, 2, 3, 3), generator=draw, dtype=torch.float64) * 1.8 - 0.9
    noise, error, variance = (torch.randn(x_0.shape, generator=draw, dtype=torch.float64) for _ in range(3))
    return x_0, noise, noise + error / 10, variance.tanh()


def posterior(x_0: torch.Tensor, x_t: torch.Tensor, t: int) -> tuple[torch.Tensor, float]:
    """Mean and variance of q(x_{t-1} | x_t, x_0), Ho et al. 2020, equations 6 and 7."""
    abar, before, beta = ABAR[t], ABAR[t - 1], BETAS[t]
    mean = before.sqrt() * beta / (1 - abar) * x_0 + (1 - beta).sqrt() * (1 - before) / (1 - abar) * x_t
    return mean, float((1 - before) / (1 - abar) * beta)


@pytest.mark.parametrize("t", [1, 10, 500, 999])
def test_it_is_the_divergence_of_the_posteriors_in_bits(t: int) -> None:
    x_0, noise, prediction, variance = drawn(3)
    x_t = ABAR[t].sqrt() * x_0 + (1 - ABAR[t]).sqrt() * noise
    true_mean, true_variance = posterior(x_0, x_t, t)
    mean, _ = posterior((x_t - (1 - ABAR[t]).sqrt() * prediction) / ABAR[t].sqrt(), x_t, t)
    share = (variance + 1) / 2
    log_variance = share * BETAS[t].log() + (1 - share) * math.log(true_variance)
    expected = kl_divergence(Normal(true_mean, true_variance**0.5), Normal(mean, (log_variance / 2).exp())) / math.log(
        2
    )
    steps = torch.full((3,), t)
    for reduction, value in (("mean", expected.mean()), ("sum", expected.sum() / 3)):
        loss = variational_loss(PIXEL, prediction, variance, x_0=x_0, x_t=x_t, t=steps, reduction=reduction)
        assert loss.item() == pytest.approx(value.item(), rel=1e-3)


def test_at_the_last_step_it_is_the_likelihood_of_the_level() -> None:
    """The probabilities of all 256 levels add up to one."""
    levels = (torch.arange(256, dtype=torch.float64) / 127.5 - 1).view(-1, 1, 1, 1)
    x_t = torch.full_like(levels, 0.3)
    settings = {"x_t": x_t, "t": torch.zeros(1, dtype=torch.int64), "reduction": "sum"}
    probabilities = [
        2.0
        ** -variational_loss(
            PIXEL,
            torch.zeros((1, 1, 1, 1), dtype=torch.float64),
            torch.ones((1, 1, 1, 1), dtype=torch.float64),
            x_0=level.view(1, 1, 1, 1),
            **{**settings, "x_t": x_t[:1]},
        ).item()
        for level in levels
    ]
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-3)
    assert max(probabilities) == probabilities[int((0.3 + 1) * 127.5 + 0.5)]


def test_the_prediction_has_no_gradient_of_it() -> None:
    x_0, noise, prediction, variance = drawn(2)
    leaves = prediction.requires_grad_(), variance.requires_grad_()
    t = torch.tensor([0, 300])
    loss = variational_loss(PIXEL, *leaves, x_0=x_0, x_t=PIXEL.noised(x_0, noise, t), t=t, reduction="mean")
    by_prediction, by_variance = torch.autograd.grad(loss, leaves, allow_unused=True)
    assert by_prediction is None
    assert by_variance.abs().min() > 0

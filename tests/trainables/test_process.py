"""The forward process is the paper's: linear betas, epsilon prediction, antithetic timesteps."""

import pytest
import torch

from trainables.process import PIXEL, TIMESTEPS, antithetic_timesteps, uniform_timesteps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_schedule_is_linear_over_a_thousand_steps() -> None:
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(PIXEL.alphas_cumprod.double(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-9)
    assert PIXEL.num_timesteps == 1000


@pytest.mark.parametrize("batch_size", [1, 2, 7, 96])
def test_antithetic_timesteps_mirror_each_other(batch_size: int) -> None:
    t = antithetic_timesteps(batch_size, 1000, generator())
    half = (batch_size + 1) // 2
    assert t.shape == (batch_size,)
    assert t.dtype == torch.int64
    assert (t[half:] + t[: batch_size - half] == 999).all()


@pytest.mark.parametrize("kind", TIMESTEPS)
def test_timesteps_cover_the_whole_range_and_follow_from_the_generator(kind: str) -> None:
    t = TIMESTEPS[kind](20_000, 1000, generator())
    assert (t.min(), t.max()) == (0, 999)
    assert len(t.unique()) == 1000
    assert t.double().mean().item() == pytest.approx(499.5, abs=8)
    assert torch.equal(t, TIMESTEPS[kind](20_000, 1000, generator()))
    assert not torch.equal(t, TIMESTEPS[kind](20_000, 1000, generator(1)))


def test_uniform_timesteps_do_not_mirror_each_other() -> None:
    t = uniform_timesteps(96, 1000, generator())
    assert (t[48:] + t[:48] == 999).sum() < 5

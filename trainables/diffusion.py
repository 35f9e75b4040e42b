"""The forward process of the paper's pixel recipe: linear beta schedule, epsilon prediction, antithetic timesteps.

Shapes: B batch, C channels, H height, W width.
"""

import torch
from diffusers import DDPMScheduler

NUM_TIMESTEPS = 1000


def noise_schedule() -> DDPMScheduler:
    """Linear betas 1e-4 .. 0.02 over T = 1000 steps, epsilon prediction (Ho et al. 2020)."""
    return DDPMScheduler(
        num_train_timesteps=NUM_TIMESTEPS,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="epsilon",
        clip_sample=False,
    )


def antithetic_timesteps(batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps (B,) int64: t and T - 1 - t in one batch, as Diff-Pruning draws them; an odd batch drops the last."""
    t = torch.randint(0, NUM_TIMESTEPS, ((batch_size + 1) // 2,), generator=generator)
    return torch.cat([t, NUM_TIMESTEPS - 1 - t])[:batch_size]


def uniform_timesteps(batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps (B,) int64, independent and uniform over 0 .. T - 1."""
    return torch.randint(0, NUM_TIMESTEPS, (batch_size,), generator=generator)


TIMESTEPS = {"antithetic": antithetic_timesteps, "uniform": uniform_timesteps}

"""The forward process is the paper's: linear betas, epsilon prediction, antithetic timesteps."""

from collections.abc import Callable

import pytest
import torch

from trainables.process import FLOW, PIXEL, TIMESTEPS, Process, antithetic_timesteps, uniform_timesteps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_schedule_is_linear_over_a_thousand_steps() -> None:
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(PIXEL.alphas_cumprod, (1 - betas).cumprod(0), rtol=1e-5, atol=1e-9)
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


V = Process(config={**PIXEL.config, "prediction_type": "v_prediction"})
RECTIFIED = Process(scheduler=FLOW, config={"shift": 3.0})


def drawn(num: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    draw = generator(4)
    return torch.randn((num, 1, 2, 2), generator=draw), torch.randn((num, 1, 2, 2), generator=draw)


def test_v_prediction_is_the_published_target_and_gives_x_0_back() -> None:
    """v = sqrt(abar) noise - sqrt(1 - abar) x_0 (Salimans and Ho 2022)."""
    (x_0, noise), t = drawn(), torch.tensor([0, 10, 500, 999])
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[t].view(-1, 1, 1, 1).float()
    target = V.target(x_0, noise, t)
    torch.testing.assert_close(target, abar.sqrt() * noise - (1 - abar).sqrt() * x_0, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(V.clean(V.noised(x_0, noise, t), target, t), x_0, rtol=1e-3, atol=1e-4)


def test_epsilon_gives_x_0_back() -> None:
    (x_0, noise), t = drawn(), torch.tensor([0, 10, 100, 300])
    torch.testing.assert_close(PIXEL.clean(PIXEL.noised(x_0, noise, t), noise, t), x_0, rtol=1e-3, atol=1e-4)


def test_a_flow_is_a_straight_line_with_the_shift_of_sd3() -> None:
    """sigma' = 3 sigma / (1 + 2 sigma) for shift 3 (Esser et al. 2024, equation 23); the model is told 1000 sigma'."""
    (x_0, noise), t = drawn(), torch.tensor([0, 249, 499, 999])
    plain = (t + 1) / 1000
    sigma = (3 * plain / (1 + 2 * plain)).view(-1, 1, 1, 1)
    torch.testing.assert_close(RECTIFIED.noised(x_0, noise, t), (1 - sigma) * x_0 + sigma * noise)
    assert torch.equal(RECTIFIED.target(x_0, noise, t), noise - x_0)
    torch.testing.assert_close(RECTIFIED.model_time(t), 1000 * sigma.flatten())


def test_a_step_of_a_flow_with_the_true_velocity_stays_on_the_trajectory() -> None:
    x_0, noise = drawn()
    t, to = torch.tensor([400, 500, 600, 700]), torch.tensor([0, 100, 300, 699])
    x_t, velocity = RECTIFIED.noised(x_0, noise, t), RECTIFIED.target(x_0, noise, t)
    moved = RECTIFIED.denoised(x_t, velocity, t, to, torch.ones_like(noise))
    torch.testing.assert_close(moved, RECTIFIED.noised(x_0, noise, to), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("process", [PIXEL, V])
def test_an_ancestral_step_with_the_true_answer_ends_in_the_distribution_of_its_timestep(process: Process) -> None:
    """x_to has mean sqrt(abar_to) x_0 and variance 1 - abar_to; of it, what the noise of the step adds is the variance
    of the posterior q(x_to | x_t, x_0), the inverse of the sum of the precisions of both factors (Bayes).
    """
    t, to = torch.tensor([400, 500, 600, 700]), torch.tensor([0, 100, 300, 699])
    ones, none = torch.ones((4, 1, 1, 1)), torch.zeros((4, 1, 1, 1))
    abar, abar_to = (process.alphas_cumprod[at].float() for at in (t, to))

    def moved(x_0: torch.Tensor, noise: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        x_t, answer = process.noised(x_0, noise, t), process.target(x_0, noise, t)
        return process.denoised(x_t, answer, t, to, fresh).flatten()

    torch.testing.assert_close(moved(ones, none, none), abar_to.sqrt(), rtol=1e-3, atol=1e-4)
    kept, added = moved(none, ones, none).square(), moved(none, none, ones).square()
    torch.testing.assert_close(kept + added, 1 - abar_to, rtol=1e-3, atol=1e-5)
    alpha = abar / abar_to
    torch.testing.assert_close(added, 1 / (alpha / (1 - alpha) + 1 / (1 - abar_to)), rtol=1e-3, atol=1e-5)


def test_a_flow_sampler_told_the_true_velocity_ends_in_x_0() -> None:
    x_0, noise = drawn()
    sampler, x = RECTIFIED.sampler("euler", 7), noise
    for timestep in sampler.timesteps:
        x = sampler.step(noise - x_0, timestep, x).prev_sample
    torch.testing.assert_close(x, x_0, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Process(scheduler="PNDMScheduler"), r"process.scheduler must be one of DDPMScheduler, Flow.* 'PNDM"),
        (lambda: Process(config={"betas": 3}).check(), "process.config"),
        (
            lambda: Process(config={"prediction_type": "sample"}).check(),
            "prediction_type must be one of epsilon, v_prediction",
        ),
        (lambda: PIXEL.sampler("euler", 5), "evaluation.sampler must be one of ddim, ddpm, pndm but got 'euler'"),
        (lambda: RECTIFIED.sampler("ddim", 5), "evaluation.sampler must be one of euler but got 'ddim'"),
    ],
)
def test_what_is_no_process_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_configs_that_differ_in_sampling_alone_train_alike() -> None:
    linear = Process()
    assert linear.trains_like(Process(config={**linear.config, "clip_sample": True}))
    assert Process(config={"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02}).trains_like(linear)
    assert not linear.trains_like(Process(config={**linear.config, "beta_end": 0.03}))
    assert not linear.trains_like(Process(config={**linear.config, "prediction_type": "v_prediction"}))
    assert not linear.trains_like(Process(config={**linear.config, "num_train_timesteps": 500}))
    flow = Process(scheduler="FlowMatchEulerDiscreteScheduler", config={"shift": 3.0})
    assert not linear.trains_like(flow)
    assert flow.trains_like(Process(scheduler=flow.scheduler, config={"shift": 3.0, "num_train_timesteps": 1000}))
    assert not flow.trains_like(Process(scheduler=flow.scheduler, config={"shift": 1.0}))

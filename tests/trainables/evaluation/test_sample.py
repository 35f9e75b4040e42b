"""Images are addressed by (noise seed, index): nothing else may change a byte of them."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers import UNet2DModel
from family_models import CONDITIONAL_UNET, DIT, data_for
from torch import nn

from trainables.data import Dataset
from trainables.evaluation.micro_batches import micro_batch_size
from trainables.evaluation.sample import (
    _conditions,
    _Guided,
    decode_batch_size,
    sample_batches,
    sample_images,
)
from trainables.families import predict
from trainables.models import build_model
from trainables.process import PIXEL
from trainables.seeds import derived_generator

SHAPE = (1, 8, 8)
DATA = Dataset(images=torch.zeros((1, *SHAPE)))
_BLOCKS = {
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
}


class Denoiser(UNet2DModel):
    """The optimal noise predictor of N(0, 0.3^2) pixels plus a random U-Net: pixels come out grey."""

    def __init__(self, strength: float = 0.5, dropout: float = 0.0) -> None:
        super().__init__(sample_size=8, block_out_channels=(4, 8), norm_num_groups=2, **_BLOCKS)
        self.unet = random_unet(dropout)
        self.strength = strength
        self.batch_sizes: list[int] = []
        self.register_buffer("alphas_bar", PIXEL.alphas_cumprod)

    def forward(self, x: torch.Tensor, timestep: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        assert not return_dict
        self.batch_sizes.append(len(x))
        alpha_bar = self.alphas_bar[timestep].view(-1, 1, 1, 1)
        ideal = x * (1 - alpha_bar).sqrt() / (0.09 * alpha_bar + 1 - alpha_bar)
        return (ideal + self.strength * self.unet(x, timestep).sample,)


def random_unet(dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(4, 8),
            norm_num_groups=2,
            dropout=dropout,
            **_BLOCKS,
        )


def sampled(model: nn.Module, num_images: int = 70, **settings: object) -> torch.Tensor:
    protocol = {"sampler_steps": 5, "noise_seed": 3, "batch_size": 64} | settings
    return sample_images(model, DATA, PIXEL, num_images=num_images, **protocol)


@pytest.fixture(scope="module")
def model() -> Denoiser:
    return Denoiser()


@pytest.fixture(scope="module")
def images(model: Denoiser) -> torch.Tensor:
    return sampled(model)


def test_the_images_are_distinct_and_in_range(images: torch.Tensor) -> None:
    assert images.shape == (70, *SHAPE)
    assert images.dtype == torch.uint8
    assert images.device.type == "cpu"
    assert len(images.flatten(1).unique(dim=0)) == 70
    inside = ((images > 0) & (images < 255)).float().mean()
    assert inside > 0.5


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_batches_of_7_and_64_give_the_same_images(model: Denoiser, sampler: str) -> None:
    assert torch.equal(
        sampled(model, 300, batch_size=7, sampler=sampler), sampled(model, 300, batch_size=64, sampler=sampler)
    )


def test_the_model_always_sees_whole_micro_batches() -> None:
    model = Denoiser()
    sampled(model, 257, batch_size=7, sampler_steps=2)
    sampled(model, 257, batch_size=300, sampler_steps=2)
    assert set(model.batch_sizes) == {micro_batch_size(SHAPE)}


def test_image_i_does_not_depend_on_how_many_are_sampled(model: Denoiser, images: torch.Tensor) -> None:
    assert torch.equal(sampled(model, 3), images[:3])


@pytest.mark.parametrize("world_size", [2, 3])
def test_image_i_does_not_depend_on_which_worker_samples_it(model: Denoiser, world_size: int) -> None:
    whole = sampled(model, 300)
    share = 300 // world_size
    parts = [sampled(model, share, first_image=rank * share) for rank in range(world_size)]
    assert torch.equal(torch.cat(parts), whole)


def test_the_noise_seed_changes_every_image(model: Denoiser, images: torch.Tensor) -> None:
    other = sampled(model, noise_seed=4)
    assert (other != images).flatten(1).any(dim=1).all()


def test_ddim_is_the_published_recursion_from_the_noise_of_the_image() -> None:
    """Song et al. 2021, equation 12 with sigma 0, on timesteps 900, 800 .. 0; linear in x for this predictor."""
    alphas_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)
    x = torch.stack([torch.randn(SHAPE, generator=derived_generator("image", 3, i)) for i in range(20)]).double()
    for timestep in range(900, -1, -100):
        now, then = alphas_bar[timestep], alphas_bar[timestep - 100] if timestep else torch.tensor(1.0)
        noise = x * (1 - now).sqrt() / (0.09 * now + 1 - now)
        x = then.sqrt() * (x - (1 - now).sqrt() * noise) / now.sqrt() + (1 - then).sqrt() * noise
    expected = ((x.clamp(-1, 1) + 1) * 127.5).round().int()
    images = sampled(Denoiser(strength=0.0), 20, sampler_steps=10).int()
    assert (images - expected).abs().max() <= 1
    assert (images != expected).float().mean() < 0.01


def test_the_callers_random_state_mode_and_threads_are_left_alone() -> None:
    model = Denoiser(dropout=0.5).train()
    before, num_threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = sampled(model, 4), sampled(model, 4)
    assert torch.equal(first, second)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == num_threads


def test_pixels_that_are_not_finite_become_black() -> None:
    model = Denoiser(strength=float("nan"))
    assert not sampled(model, 2).any()


def test_a_float64_model_is_sampled_too() -> None:
    single, double = sampled(Denoiser(), 8).int(), sampled(Denoiser().double(), 8).int()
    assert (single - double).abs().max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "euler"}, r"evaluation\.sampler must be one of ddim, ddpm, pndm but got 'euler'"),
        ({"sampler_steps": 0}, r"evaluation\.sampler_steps must be 1 \.\. 1000, but got 0"),
        ({"sampler_steps": 1001}, r"evaluation\.sampler_steps must be 1 \.\. 1000, but got 1001"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"first_image": -1}, "first_image must not be negative"),
    ],
)
def test_settings_that_cannot_be_are_refused(model: Denoiser, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampled(model, **settings)


def test_guidance_of_the_first_three_channels_leaves_the_others_to_the_condition() -> None:
    data = data_for(DIT)
    model = build_model(DIT, data.shape, seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    x_t, condition = data.x_0(torch.arange(2)), data.condition(torch.arange(2))

    def said(guidance: float, channels: str) -> tuple[torch.Tensor, ...]:
        guided = _Guided(partial(predict, model), condition, data.null, guidance, channels, 64, 1, torch.float32)
        with torch.no_grad():
            prediction, variance = guided(x_t, torch.tensor(500))
        assert variance is not None
        return prediction, variance

    of_all, of_three, unguided = said(4.0, "all"), said(4.0, "first_three"), said(1.0, "all")
    assert torch.equal(of_three[0][:, :3], of_all[0][:, :3])
    assert torch.equal(of_three[0][:, 3], unguided[0][:, 3])
    assert not torch.equal(of_all[0][:, 3], unguided[0][:, 3])
    assert torch.equal(of_three[1], unguided[1])


def test_linspace_is_the_respacing_of_dit() -> None:
    """space_timesteps(1000, "250") of guided-diffusion: from 0 on in strides of 999 / 249, rounded."""
    theirs = [round(index * 999 / 249) for index in range(250)]
    assert PIXEL.sampler("ddpm", 250, spacing="linspace").timesteps.tolist() == theirs[::-1]
    assert PIXEL.sampler("ddpm", 250).timesteps.tolist() == list(range(0, 1000, 4))[::-1]


def test_pndm_samples_what_ddim_samples_of_a_teacher_that_knows_all(model: Denoiser) -> None:
    """On the ideal predictor both arrive at the same pixels; it is not DDIM under another name."""
    ideal = Denoiser(strength=0.0)
    ddim, pndm = (sampled(ideal, 8, sampler=name, sampler_steps=50).float() for name in ("ddim", "pndm"))
    assert (ddim - pndm).abs().mean() < 4
    assert not torch.equal(ddim, pndm)


def test_samples_are_drawn_for_the_prompts_of_the_evaluation() -> None:
    data = data_for(CONDITIONAL_UNET)
    prompts = {"encoder_hidden_states": torch.full((2, 5, 6), 3.0)}
    found = _conditions(replace(data, evaluation_conditions=prompts), torch.tensor([0, 1, 5]))
    assert (found["encoder_hidden_states"] == 3.0).all()
    assert not (_conditions(data, torch.tensor([0]))["encoder_hidden_states"] == 3.0).any()


def test_batches_are_the_images_in_order_and_never_all_at_once(model: Denoiser, images: torch.Tensor) -> None:
    batches = list(sample_batches(model, DATA, PIXEL, num_images=300, sampler_steps=5, noise_seed=3, batch_size=64))
    assert [len(batch) for batch in batches] == [256, 44]
    assert torch.equal(torch.cat(batches)[:70], images)


def test_a_micro_batch_that_does_not_fit_is_halved(
    model: Denoiser, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    forward = Denoiser.forward

    def limited(self: Denoiser, x: torch.Tensor, timestep: torch.Tensor, return_dict: bool) -> object:
        seen.append(len(x))
        if len(x) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, x, timestep, return_dict)

    monkeypatch.setattr(Denoiser, "forward", limited)
    found = sampled(model)
    assert seen[:4] == [256, 128, 64, 64]
    assert ((found.int() - images.int()).abs() > 1).sum() == 0, "the same images but for the last bits"


def test_latents_are_decoded_a_few_at_a_time(model: Denoiser, images: torch.Tensor) -> None:
    decoded: list[int] = []

    def decoder(latents: torch.Tensor) -> torch.Tensor:
        decoded.append(len(latents))
        if len(latents) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return latents

    found = sample_images(
        model, replace(DATA, decoder=decoder), PIXEL, num_images=70, sampler_steps=5, noise_seed=3, batch_size=64
    )
    assert torch.equal(found, images)
    assert decoded == [64, 32, *[16] * 16]
    assert [decode_batch_size((4, side, side)) for side in (8, 32, 64, 256)] == [64, 16, 4, 1]

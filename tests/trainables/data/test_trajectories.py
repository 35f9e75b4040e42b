"""Inputs without data: a pool of what the teacher meets while it denoises."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from family_models import CONDITIONAL_UNET, data_for
from tiny import SHAPE, member, teacher_spec, train_spec, unet

from trainables.data import Dataset
from trainables.data.digits import Digits
from trainables.data.streams import Batch, SeedStream, replacement_rate
from trainables.data.trajectories import TrajectoryStream
from trainables.models import build_model
from trainables.models.saved import TrainedStudent
from trainables.process import PIXEL
from trainables.ranks import Ranks
from trainables.training.checkpoints import Checkpoints
from trainables.training.pack import Progress, train_pack
from trainables.training.trainee import Trainee

CPU = torch.device("cpu")
POOL_BATCHES, NUM_STEPS = 4, 25


def ideal(x_t: torch.Tensor, t: torch.Tensor, _condition: object) -> torch.Tensor:
    """The teacher that knows that all images are zero: its noise is all there is."""
    abar = PIXEL.alphas_cumprod[t].view(-1, 1, 1, 1).to(x_t.dtype)
    return x_t / (1 - abar).sqrt()


def stream(seed: int = 0, rank: int = 0, world_size: int = 1) -> TrajectoryStream:
    data, share = data_for(CONDITIONAL_UNET), Ranks(rank, world_size)
    return TrajectoryStream(
        data, PIXEL, ideal, seed=seed, batch_size=8, ranks=share, device=CPU, dtype=torch.float32,
        pool_batches=POOL_BATCHES, num_steps=NUM_STEPS,
    )  # fmt: skip


def walk(one: TrajectoryStream, num_steps: int, first: int = 0) -> list[torch.Tensor]:
    seen = []
    for step in range(first, first + num_steps):
        batch = one.batch(step)
        seen.append(batch.x_t.clone())
        one.took(batch, ideal(batch.x_t, batch.t, {}), step)
    return seen


def test_every_input_lies_on_a_trajectory_of_the_teacher() -> None:
    """With this teacher x_t is noise of the spread sqrt(1 - abar_t) whatever the stage."""
    one = stream()
    for step in range(30):
        batch = one.batch(step)
        abar = PIXEL.alphas_cumprod[batch.t]
        spread = batch.x_t.std(dim=(1, 2, 3)) / (1 - abar).sqrt()
        assert ((spread > 0.7) & (spread < 1.3)).all()
        assert batch.x_0 is None
        assert batch.target is None
        one.took(batch, ideal(batch.x_t, batch.t, {}), step)


def test_the_pool_holds_all_stages_and_is_refreshed_slowly() -> None:
    one = stream()
    one.batch(0)
    before = {name: value.clone() for name, value in one.tensors().items()}
    assert len(before["t"]) == 8 * POOL_BATCHES
    assert len((before["t"] // (1000 // NUM_STEPS)).unique()) > NUM_STEPS / 2
    walk(one, 1)
    changed = (one.tensors()["x"] != before["x"]).flatten(1).any(1)
    assert changed.sum() == 8
    walk(one, 200, first=1)
    assert (one.tensors()["t"] >= 0).all()
    assert (one.tensors()["index"] != before["index"]).float().mean() > 0.5  # arrived, and begun anew


def test_it_follows_from_the_seed_and_goes_on_from_its_state() -> None:
    whole, other = walk(stream(), 6), walk(stream(seed=1), 6)
    assert not torch.equal(whole[0], other[0])
    first = stream()
    begun = walk(first, 3)
    resumed = stream()
    resumed.restore({name: value.clone() for name, value in first.tensors().items()})
    assert all(torch.equal(a, b) for a, b in zip([*begun, *walk(resumed, 3, first=3)], whole, strict=True))


def test_ranks_share_the_batch() -> None:
    whole = stream().batch(0)
    shares = [stream(rank=rank, world_size=2).batch(0) for rank in range(2)]
    assert torch.equal(torch.stack([share.x_t for share in shares], dim=1).flatten(0, 1), whole.x_t)


@pytest.mark.parametrize("method", ["out_kd", "lift_place_feat"])
def test_a_student_learns_without_data_and_resumes_exactly(method: str, tmp_path: Path) -> None:
    """Killed after four of six steps it ends with the same bits; it gets closer to its teacher."""
    one = member(
        method, train=train_spec(steps=6, inputs="data_free", pool_batches=4, pool_steps=25), teacher=teacher_spec()
    )
    teacher = build_model(unet(8), SHAPE, seed=100).eval().requires_grad_(False)

    def train(checkpoints: Checkpoints | None, killed_at: int | None = None) -> TrainedStudent:
        def interrupt(steps: int) -> None:
            if steps == killed_at:
                raise KeyboardInterrupt

        (trained,) = train_pack(
            [one], teacher, Digits().load(), initial=Path(), device=CPU, ranks=Ranks(),
            progress=Progress(interrupt, interval_seconds=-1.0), checkpoints=checkpoints,
        )  # fmt: skip
        return trained

    undisturbed = train(None)
    checkpoints = Checkpoints(tmp_path / "pack", 2)
    with pytest.raises(KeyboardInterrupt):
        train(checkpoints, killed_at=5)
    assert train(checkpoints).digest == undisturbed.digest
    assert all("loss_diff" not in point for point in undisturbed.curve)
    real = replace(one, train=train_spec(steps=6))
    assert real.train_id != one.train_id


def random_stream(data: Dataset, batch_size: int = 400) -> SeedStream:
    settings = {"seed": 0, "batch_size": batch_size, "timesteps": "uniform", "ranks": Ranks()}
    return SeedStream(data, PIXEL, **settings, random_conditioning=True)


def test_conditions_are_replaced_the_more_often_the_noisier_the_image_is() -> None:
    """With p(t) = exp(-5 (1 - t/T)), 0.198 on average; what matches is said, and is what the images have."""
    data = data_for(CONDITIONAL_UNET)
    assert replacement_rate(torch.arange(1000), 1000).mean().item() == pytest.approx(0.198, abs=1e-3)
    batches = [random_stream(data).batch(step) for step in range(10)]
    replaced = ~torch.cat([batch.matching for batch in batches])
    t = torch.cat([batch.t for batch in batches])
    for low, high in ((0, 500), (500, 900), (900, 1000)):
        inside = (t >= low) & (t < high)
        expected = replacement_rate(torch.arange(low, high), 1000).mean().item()
        assert replaced[inside].float().mean().item() == pytest.approx(expected, abs=0.05)

    plain = SeedStream(data, PIXEL, seed=0, batch_size=400, timesteps="uniform", ranks=Ranks()).batch(0)
    assert plain.matching is None
    assert torch.equal(batches[0].x_t, plain.x_t)
    ours, theirs = (batch.condition["encoder_hidden_states"] for batch in (batches[0], plain))
    same = (ours == theirs).flatten(1).all(1)
    assert same[batches[0].matching].all()
    assert same[~batches[0].matching].float().mean() < 0.2  # 20 images: one in twenty draws its own again


def test_prompts_without_images_are_drawn_too() -> None:
    extra = {"encoder_hidden_states": torch.full((60, 5, 6), 7.0)}
    data = replace(data_for(CONDITIONAL_UNET), extra_conditions=extra)
    batch = random_stream(data).batch(0)
    is_extra = (batch.condition["encoder_hidden_states"] == 7.0).flatten(1).all(1)
    assert not is_extra[batch.matching].any()
    assert is_extra[~batch.matching].float().mean().item() == pytest.approx(60 / 80, abs=0.12)


@pytest.mark.parametrize("diffusion_loss", ["matching", "none"])
def test_the_diffusion_loss_counts_what_matches_or_nothing(diffusion_loss: str) -> None:
    """Targets of samples that do not match may be anything."""
    one = member("out_kd", train=train_spec(inputs="random_conditioning", diffusion_loss=diffusion_loss))
    new_student = partial(build_model, one.student, SHAPE, seed=0)
    draw = torch.Generator().manual_seed(0)
    x_0, target, teacher = (torch.randn((4, *SHAPE.image), generator=draw) for _ in range(3))
    matching, curves = torch.tensor([True, False, True, False]), []
    for wrong in (0.0, 1e6):
        trainee = Trainee(one, new_student, SHAPE, teacher_features={}, device=CPU, ranks=Ranks())
        batch = Batch(x_0, x_0, torch.arange(4), torch.where(matching.view(-1, 1, 1, 1), target, wrong), {}, matching)
        trainee.backward(batch, teacher, {}, 0, log=True)
        curves += trainee.curve
    first, second = curves
    assert first == second
    assert ("loss_diff" in first) == (diffusion_loss == "matching")
    if diffusion_loss == "matching":
        prediction = trainee._forward(batch, 0)[0]
        expected = (prediction - target)[matching].square().sum() / 4
        assert first["loss_diff"] == pytest.approx(expected.item(), rel=1e-5)


def test_an_ancestral_step_is_that_of_the_sampler() -> None:
    """Against diffusers' DDPM over the same timesteps, with a learned variance and without."""
    draw = torch.Generator().manual_seed(0)
    x_t, prediction, variance = (torch.randn((2, 3, 4, 4), generator=draw) for _ in range(3))
    t = torch.tensor([480, 480])
    for output, learned in ((prediction, False), (torch.cat([prediction, variance.tanh()], dim=1), True)):
        sampler = PIXEL.sampler("ddpm", 25, learned_variance=learned)
        noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(1))
        theirs = sampler.step(output, 480, x_t, generator=torch.Generator().manual_seed(1)).prev_sample
        torch.testing.assert_close(PIXEL.denoised(x_t, output, t, t - 40, noise), theirs, rtol=1e-4, atol=1e-4)


def test_dropped_conditions_are_the_null_for_about_that_part() -> None:
    data = data_for(CONDITIONAL_UNET)
    stream = SeedStream(data, PIXEL, seed=0, batch_size=20, timesteps="uniform", ranks=Ranks(), condition_dropout=0.25)
    dropped = [(stream.batch(step).condition["encoder_hidden_states"] == 0).flatten(1).all(1) for step in range(20)]
    assert torch.stack(dropped).float().mean().item() == pytest.approx(0.25, abs=0.06)

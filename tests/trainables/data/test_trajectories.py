"""Inputs without data: a pool of what the teacher meets while it denoises."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from family_models import CONDITIONAL_UNET, data_for
from tiny import SHAPE, member, teacher_spec, train_spec, unet

from trainables.data.digits import Digits
from trainables.data.trajectories import NUM_DENOISING_STEPS, POOL_BATCHES, TrajectoryStream
from trainables.models import build_model
from trainables.models.saved import TrainedStudent
from trainables.process import PIXEL
from trainables.ranks import Ranks
from trainables.training.checkpoints import Checkpoints
from trainables.training.pack import Progress, train_pack

CPU = torch.device("cpu")


def ideal(x_t: torch.Tensor, t: torch.Tensor, _condition: object) -> torch.Tensor:
    """The teacher that knows that all images are zero: its noise is all there is."""
    abar = PIXEL.alphas_cumprod[t].view(-1, 1, 1, 1).to(x_t.dtype)
    return x_t / (1 - abar).sqrt()


def stream(seed: int = 0, rank: int = 0, world_size: int = 1) -> TrajectoryStream:
    data, share = data_for(CONDITIONAL_UNET), Ranks(rank, world_size)
    return TrajectoryStream(data, PIXEL, ideal, seed=seed, batch_size=8, ranks=share, device=CPU, dtype=torch.float32)


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
    assert len((before["t"] // (1000 // NUM_DENOISING_STEPS)).unique()) > NUM_DENOISING_STEPS / 2
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
    one = member(method, train=train_spec(steps=6, inputs="data_free"), teacher=teacher_spec())
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


def test_conditions_drawn_at_random_are_not_those_of_the_images() -> None:
    from trainables.data.streams import SeedStream

    data = data_for(CONDITIONAL_UNET)
    settings = {"seed": 0, "batch_size": 20, "timesteps": "uniform", "ranks": Ranks()}
    real = SeedStream(data, PIXEL, **settings).batch(0)
    random = SeedStream(data, PIXEL, **settings, pair_at_random=True).batch(0)
    assert torch.equal(real.x_t, random.x_t)
    same = (real.condition["encoder_hidden_states"] == random.condition["encoder_hidden_states"]).flatten(1).all(1)
    assert same.sum() < 5


def test_dropped_conditions_are_the_null_for_about_that_part() -> None:
    from trainables.data.streams import SeedStream

    data = data_for(CONDITIONAL_UNET)
    stream = SeedStream(data, PIXEL, seed=0, batch_size=20, timesteps="uniform", ranks=Ranks(), condition_dropout=0.25)
    dropped = [(stream.batch(step).condition["encoder_hidden_states"] == 0).flatten(1).all(1) for step in range(20)]
    assert torch.stack(dropped).float().mean().item() == pytest.approx(0.25, abs=0.06)

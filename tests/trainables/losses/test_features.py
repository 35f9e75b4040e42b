"""Feature distillation: what is hooked, how features pair up, what is compared."""

import pytest
import torch
from torch import nn

from trainables.losses.features import fitnet_loss, make_adapters, record_features, sub_block_names
from trainables.models import build_model
from trainables.specs import ModelSpec


def unet(**config: object) -> nn.Module:
    settings = {
        "block_out_channels": (4, 8),
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "add_attention": False,
    }
    return build_model(
        ModelSpec(name="tiny", model_class="UNet2DModel", config=settings | config), (1, 8, 8), seed=0
    ).eval()


def shapes(**channels: int) -> dict[str, torch.Size]:
    return {name: torch.Size((1, count, 4, 4)) for name, count in channels.items()}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sub_blocks_are_the_residual_attention_and_resampling_blocks() -> None:
    names = sub_block_names(unet(add_attention=True, attention_head_dim=4))
    assert names == [
        "down_blocks.0.resnets.0",
        "down_blocks.0.downsamplers.0",
        "down_blocks.1.resnets.0",
        "up_blocks.0.resnets.0",
        "up_blocks.0.resnets.1",
        "up_blocks.0.upsamplers.0",
        "up_blocks.1.resnets.0",
        "up_blocks.1.resnets.1",
        "mid_block.attentions.0",
        "mid_block.resnets.0",
        "mid_block.resnets.1",
    ]


def test_recorded_features_are_the_outputs_of_the_sub_blocks() -> None:
    model = unet()
    names = sub_block_names(model)
    features = record_features(model, names)
    x, t = torch.randn((3, 1, 8, 8), generator=generator()), torch.tensor([1, 500, 900])
    model(x, t)
    assert set(features) == set(names)
    first = features["down_blocks.0.resnets.0"]
    assert first.shape == (3, 4, 8, 8)
    down = dict(model.named_modules())["down_blocks.0.downsamplers.0"]
    torch.testing.assert_close(features["down_blocks.0.downsamplers.0"], down(first))

    model(x + 1, t)
    assert not torch.equal(features["down_blocks.0.resnets.0"], first)  # every pass leaves its own


def test_adapters_map_channels_one_to_one() -> None:
    adapters = make_adapters(shapes(a=2, b=3), shapes(a=5, b=7), generator())
    assert [tuple(adapter.weight.shape) for adapter in adapters] == [(5, 2), (7, 3)]


def test_adapters_start_within_their_bound_and_fill_it() -> None:
    (adapter,) = make_adapters(shapes(a=64), shapes(a=64), generator())
    weight = adapter.weight.detach()
    assert weight.abs().max() <= 0.005
    assert weight.abs().max() > 0.0049
    assert weight.std().item() == pytest.approx(0.005 / 3**0.5, rel=0.05)  # of a uniform distribution
    assert abs(weight.mean().item()) < 2e-4


def test_adapters_follow_from_their_generator_alone() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return list(make_adapters(shapes(a=2, b=3), shapes(a=5, b=7), generator(seed)).parameters())

    state = torch.get_rng_state()
    first, again = weights(3), weights(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not torch.equal(first[0], weights(4)[0])


def test_blocks_that_do_not_pair_up_are_named() -> None:
    with pytest.raises(ValueError, match=r"one to one.* but they differ in mid$"):
        make_adapters(shapes(a=2), shapes(a=2, mid=4), generator())


def test_features_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features of a must be of one size but got \[4, 4\] and \[8, 8\]"):
        make_adapters(shapes(a=2), {"a": torch.Size((1, 2, 8, 8))}, generator())


def test_fitnet_is_the_sum_over_pairs_of_squared_differences_by_hand() -> None:
    """Two samples; pair 1 differs by 1 in 6 of 2*3 elements, pair 2 by 2 in 8: (6*1 + 8*4) / 2 samples."""
    student = [torch.zeros(2, 3, 1, 1), torch.zeros(2, 1, 2, 2)]
    teacher = [torch.ones(2, 3, 1, 1), torch.full((2, 1, 2, 2), -2.0)]
    assert fitnet_loss(student, teacher).item() == 19.0
    assert fitnet_loss(student, teacher, reduction="mean").item() == 5.0  # 1 + 4


def test_fitnet_refuses_lists_of_different_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        fitnet_loss([torch.zeros(1, 1, 1, 1)], [])

"""Feature distillation: what is hooked, how features pair up, what is compared."""

from collections.abc import Callable

import pytest
import torch
from numerical_gradient import numerical_gradient
from torch import nn

from study.benchmarks.plain_lift_place import relative_error
from trainables.data import DataShape
from trainables.families.family import pair_evenly
from trainables.families.unet import block_names, pair_blocks, sub_block_names
from trainables.losses.features import block_loss, fitnet_loss, make_adapters, masked_loss, pair_up
from trainables.models import build_model
from trainables.specs import ModelSpec
from trainables.training.recorded_features import record_features


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
        ModelSpec(name="tiny", model_class="UNet2DModel", config=settings | config), DataShape(image=(1, 8, 8)), seed=0
    ).eval()


def shapes(**channels: int) -> dict[str, torch.Size]:
    return {name: torch.Size((1, count, 4, 4)) for name, count in channels.items()}


def sizes(*channels: int) -> list[torch.Size]:
    return list(shapes(**{f"at_{index}": count for index, count in enumerate(channels)}).values())


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
    adapters = make_adapters(sizes(2, 3), sizes(5, 7), generator())
    assert [tuple(adapter.shape) for adapter in adapters] == [(5, 2), (7, 3)]


def test_adapters_start_within_their_bound_and_fill_it() -> None:
    (adapter,) = make_adapters(sizes(64), sizes(64), generator())
    weight = adapter.detach()
    assert weight.abs().max() <= 0.005
    assert weight.abs().max() > 0.0049
    assert weight.std().item() == pytest.approx(0.005 / 3**0.5, rel=0.05)  # of a uniform distribution
    assert abs(weight.mean().item()) < 2e-4


def test_adapters_follow_from_their_generator_alone() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return list(make_adapters(sizes(2, 3), sizes(5, 7), generator(seed)).parameters())

    state = torch.get_rng_state()
    first, again = weights(3), weights(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not torch.equal(first[0], weights(4)[0])


def test_blocks_that_do_not_pair_up_are_named() -> None:
    with pytest.raises(ValueError, match=r"one to one.* but they differ in mid$"):
        pair_up("fitnet", shapes(a=2), shapes(a=2, mid=4), pair_blocks)


def test_features_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features of a must be of one size but got \[4, 4\] and \[8, 8\]"):
        pair_up("fitnet", shapes(a=2), {"a": torch.Size((1, 2, 8, 8))}, pair_blocks)


def test_fitnet_is_the_sum_over_pairs_of_squared_differences_by_hand() -> None:
    """Two samples; pair 1 differs by 1 in 6 of 2*3 elements, pair 2 by 2 in 8: (6*1 + 8*4) / 2 samples."""
    student = [torch.zeros(2, 3, 1, 1), torch.zeros(2, 1, 2, 2)]
    teacher = [torch.ones(2, 3, 1, 1), torch.full((2, 1, 2, 2), -2.0)]
    adapters = [torch.eye(3), torch.ones(1, 1)]
    assert fitnet_loss(student, teacher, adapters).item() == 19.0
    assert fitnet_loss(student, teacher, adapters, reduction="mean").item() == 5.0  # 1 + 4


def test_fitnet_refuses_lists_of_different_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        fitnet_loss([torch.zeros(1, 1, 1, 1)], [], [])


def test_fitnet_gives_what_mapping_subtracting_and_squaring_gives() -> None:
    """In value and in both gradients, those of the features and of the adapters."""
    draw = generator(5)
    student, adapter = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((4, 3, 5, 2), (7, 3)))
    teacher = torch.randn((4, 7, 5, 2), generator=draw, dtype=torch.float64)
    leaves = [student.requires_grad_(), adapter.requires_grad_()]
    plain = (torch.einsum("dc,bchw->bdhw", adapter, student) - teacher).square().sum() / 4
    loss = fitnet_loss([student], [teacher], [adapter])
    assert loss.item() == pytest.approx(plain.item(), rel=1e-12)
    for ours, expected in zip(
        torch.autograd.grad(3 * loss, leaves), torch.autograd.grad(3 * plain, leaves), strict=True
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)


def test_masked_leaves_out_what_is_far_from_the_mean_of_its_sample() -> None:
    """Ten tokens of one feature: 0 but for an outlier of 9 in the student; 1 but for one of -8 in the teacher.

    Each side masks its own: the student's is 0 where the teacher's is 1, the teacher's 0 where the student's is 0.
    """
    student, teacher = torch.zeros(1, 10, 1), torch.ones(1, 10, 1)
    student[0, 0], teacher[0, 1] = 9.0, -8.0
    assert masked_loss([student], [teacher], reduction="sum").item() == 9.0
    assert masked_loss([student], [teacher], reduction="mean").item() == pytest.approx(0.9)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("loss", [block_loss, masked_loss])
def test_feature_losses_agree_with_a_plain_reading_and_finite_differences(loss: Callable, reduction: str) -> None:
    draw = generator(6)
    student, teacher = (
        [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((2, 6, 3), (2, 4, 3))] for _ in range(2)
    )

    def is_kept(value: torch.Tensor) -> torch.Tensor:
        return (value - value.mean()).abs() <= 2 * value.std(correction=1)

    def plain(first: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for held, s, t in zip(student, [first, student[1]], teacher, strict=True):  # the mask is not differentiated
            for b in range(2):
                ours, theirs = (is_kept(held[b]), is_kept(t[b])) if loss is masked_loss else (1, 1)
                error = ((s[b] * ours - t[b] * theirs) ** 2).sum()
                total = total + error / (s[b].numel() if reduction == "mean" else 1) / 2
        return total / 2 if loss is masked_loss else total

    leaf = student[0].clone().requires_grad_()
    value = loss([leaf, student[1]], teacher, reduction=reduction)
    assert value.item() == pytest.approx(plain(student[0]).item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert relative_error(gradient, numerical_gradient(plain, student[0])) < 1e-7


def test_blocks_of_one_resolution_are_pairs_whatever_stages_the_student_lacks() -> None:
    """The student's innermost down block has lost its downsampler: its attention is compared with the teacher's."""
    ups = [f"up_blocks.{index}" for index in range(3)]
    teacher = [
        *("down_blocks.0.attentions.1", "down_blocks.0", "down_blocks.1.attentions.1", "down_blocks.1"),
        *("down_blocks.2.resnets.1", *ups),
    ]
    student = ["down_blocks.0.attentions.0", "down_blocks.0", "down_blocks.1.attentions.0", *ups[:2]]
    assert pair_blocks(student, teacher) == [
        ("down_blocks.0", "down_blocks.0"),
        ("down_blocks.1.attentions.0", "down_blocks.1.attentions.1"),
        ("up_blocks.0", "up_blocks.1"),
        ("up_blocks.1", "up_blocks.2"),
    ]


def test_the_middle_block_is_not_compared() -> None:
    assert block_names(unet()) == ["down_blocks.0.resnets.0", "down_blocks.0", "down_blocks.1.resnets.0",
                                   "up_blocks.0", "up_blocks.1"]  # fmt: skip


def test_layers_pair_up_evenly() -> None:
    assert pair_evenly(["a", "b"], ["1", "2", "3", "4", "5", "6"]) == [("a", "3"), ("b", "6")]


def test_a_model_has_one_recording_of_its_features_at_a_time() -> None:
    model = unet()
    names = sub_block_names(model)
    before, after = record_features(model, names[:2]), record_features(model, names[1:])
    model(torch.zeros((1, 1, 8, 8)), torch.tensor([1]))
    assert before == {}
    assert set(after) == set(names[1:])

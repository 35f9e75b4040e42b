"""Diff-Pruning against the authors' own numbers: every width, every importance, every channel that goes.

diff_pruning_celeba_widths.json and diff_pruning_importance.npz hold what VainF/Diff-Pruning (commit 71e922e, its CelebA
code) gave; the code of the paper (Hyun-s/LIFT_PLACE 839a663) has the same files.
"""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning
from torch import nn

from study.config.options import option_config
from trainables.data import Dataset, DataShape
from trainables.families import predict
from trainables.models import build_model, count_model
from trainables.process import PIXEL
from trainables.pruning import prune
from trainables.pruning.diff_pruning import DiffPruning, channel_importance, least_important
from trainables.specs import ModelSpec

HERE = Path(__file__).parent
WIDTHS: dict[str, Any] = json.loads((HERE / "diff_pruning_celeba_widths.json").read_text())
CELEBA = DataShape(image=(3, 64, 64))
FACES = Dataset(
    images=(torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1).expand(2, -1, -1, -1)
)  # twice the same
PARAMS = {"0.3": 43_735_002, "0.5": 19_714_179, "0.6": 16_648_921, "0.7": 9_252_711, "0.9": 1_312_076}


def celeba_unet(**config: Any) -> ModelSpec:
    settings = option_config("teacher", "celeba_79m")
    return ModelSpec(**{**settings, "config": {**settings["config"], **config}})


def widths(model: nn.Module) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """[out, in] of every convolution and linear layer, [channels, groups] of every norm."""
    modules = dict(model.named_modules())
    layers = {
        name: list(one.weight.shape[:2]) for name, one in modules.items() if isinstance(one, nn.Conv2d | nn.Linear)
    }
    norms = {name: [one.num_channels, one.num_groups] for name, one in modules.items() if isinstance(one, nn.GroupNorm)}
    return layers, norms


@pytest.mark.parametrize("ratio", PARAMS)
def test_every_width_of_the_celeba_unet_is_the_authors(ratio: str) -> None:
    teacher = build_model(celeba_unet(), CELEBA, seed=0, device="meta")
    assert count_model(teacher, CELEBA).params == 78_700_803
    student = DiffPruning(ratio=float(ratio)).without_weights(teacher, CELEBA)
    assert count_model(student, CELEBA).params == WIDTHS[ratio]["params"] == PARAMS[ratio]
    if ratio != "0.7":  # of which the total alone is known
        assert widths(student) == (WIDTHS[ratio]["out_in"], WIDTHS[ratio]["norm_channels_groups"])


def test_a_trained_model_is_cut_to_the_widths_that_were_told_before() -> None:
    """The CelebA U-Net with a sixteenth of the parameters, with data and gradients, and one with heads."""
    data = FACES
    narrow = {"block_out_channels": [32, 64, 64, 64, 128]}
    for config in (narrow, {**narrow, "attention_head_dim": 16}):
        teacher = build_model(celeba_unet(**config), data.shape, seed=0).eval()
        settings = {"how": "diff_pruning", "ratio": 0.6, "num_steps": 1, "batch_size": 2}
        student = prune(teacher, settings, data=data, process=PIXEL)
        assert widths(student) == widths(DiffPruning(ratio=0.6).without_weights(teacher, data.shape))
        heads = [one.mid_block.attentions[0].heads for one in (teacher, student)]
        assert heads[0] == heads[1] == (1 if config is narrow else 8)
        assert predict(student, data.x_0(torch.arange(2)), torch.tensor([3, 900]), {}).shape == (2, 3, 32, 32)
        again = prune(student, settings, data=data, process=PIXEL)
        assert count_model(again, data.shape).params < count_model(student, data.shape).params


@pytest.fixture(scope="module")
def numbers() -> dict[str, np.ndarray]:
    with np.load(HERE / "diff_pruning_importance.npz") as file:
        return dict(file)


def test_importance_and_removed_channels_are_the_authors(numbers: dict[str, np.ndarray]) -> None:
    layers = {"a": nn.Conv2d(3, 128, 3), "n": nn.GroupNorm(32, 128), "b": nn.Conv2d(128, 8, 3), "c": nn.Conv2d(8, 3, 1)}
    model = nn.Sequential(OrderedDict(layers))
    graph = torch_pruning.DependencyGraph().build_dependency(model, torch.zeros((1, 3, 8, 8)))
    for name, parameter in model.named_parameters():
        parameter.data = torch.from_numpy(numbers[name])
        parameter.grad = torch.from_numpy(numbers[f"grad.{name}"])
    groups = graph.get_all_groups(ignored_layers=[layers["c"]])
    (group,) = (group for group in groups if group[0].dep.target.module is layers["a"])
    importance = channel_importance(graph, group)
    torch.testing.assert_close(importance, torch.from_numpy(numbers["importance"]), rtol=1e-5, atol=0)
    for ratio in (0.3, 0.5, 0.7, 0.9):
        assert sorted(least_important(importance, 32, ratio)) == numbers[f"removed_{ratio}"].tolist()


def test_one_channel_of_a_group_stays_whatever_the_ratio() -> None:
    assert least_important(torch.tensor([1.0, 3.0, 2.0, 4.0]), 1, 0.99) == [0, 2, 1]
    assert least_important(torch.tensor([1.0, 3.0, 2.0, 4.0]), 2, 0.99) == [0, 2]
    assert least_important(torch.tensor([1.0, 2.0]), 2, 0.9) == []


def test_the_gradient_is_of_all_timesteps_of_a_loss_summed_over_an_image() -> None:
    """(w * g)^2 and |gamma * g| do not scale alike, so the loss' own scale decides which channels stay."""
    teacher = build_model(celeba_unet(block_out_channels=[32] * 5), FACES.shape, seed=0).eval()
    calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    teacher.register_forward_hook(lambda _module, args, output: calls.append((*args, output.sample.detach())))
    DiffPruning(ratio=0.5, num_steps=3, batch_size=2)._accumulate(teacher, FACES, PIXEL)
    assert [t.tolist() for _, t, _ in calls] == [[0, 0], [1, 1], [2, 2]]
    expected = torch.zeros(3)  # of the output's bias, from L = mean over images of sum (output - noise)^2
    for x_t, t, output in calls:
        abar = PIXEL.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = (x_t - abar.sqrt() * FACES.images) / (1 - abar).sqrt()
        expected += 2 * (output - noise).sum(dim=(2, 3)).mean(0)
    torch.testing.assert_close(teacher.conv_out.bias.grad, expected, rtol=1e-3, atol=1e-2)


def test_the_accumulation_ends_below_the_threshold() -> None:
    teacher = build_model(celeba_unet(block_out_channels=[32] * 5), FACES.shape, seed=0).eval()
    seen: list[int] = []
    teacher.register_forward_hook(lambda _module, args, _output: seen.append(int(args[1][0])))
    DiffPruning(ratio=0.5, num_steps=9, batch_size=2, threshold=0.9999)._accumulate(teacher, FACES, PIXEL)
    with_threshold = len(seen)
    DiffPruning(ratio=0.5, num_steps=9, batch_size=2)._accumulate(teacher, FACES, PIXEL)
    assert with_threshold < 9 == len(seen) - with_threshold

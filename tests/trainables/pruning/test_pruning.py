"""Students cut from a teacher: what is left, with which weights, and that it is a model like any other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler
from diffusers.models.attention_processor import Attention
from family_models import CONDITIONAL_UNET, DIT, MMDIT, UNET, data_for
from torch import nn

from trainables.data import Dataset
from trainables.families import predict
from trainables.models import build_model, count_model, load_model
from trainables.models.digest import weights_digest
from trainables.models.saved import save_model
from trainables.process import FLOW, PIXEL, Process
from trainables.pruning import full_settings, prune, prune_shape
from trainables.pruning.depth_pruning import temperature
from trainables.specs import ModelSpec

WIDE = ModelSpec(
    name="wide",
    model_class="UNet2DModel",
    config={
        "block_out_channels": [16, 32],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "norm_num_groups": 4,
    },
)
DEEP = ModelSpec(
    name="deep",
    model_class="UNet2DConditionModel",
    config={
        "block_out_channels": [4, 8, 8],
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 2,
        "attention_head_dim": 2,
        "norm_num_groups": 2,
    },
)


def teacher_of(spec: ModelSpec, data: Dataset) -> nn.Module:
    return build_model(spec, data.shape, seed=3).eval()


def digits() -> Dataset:
    return data_for(UNET, channels=1)


def diff_pruned(ratio: float = 0.5, **settings: Any) -> tuple[nn.Module, nn.Module]:
    data = digits()
    teacher = teacher_of(WIDE, data)
    chosen = {"how": "diff_pruning", "ratio": ratio, "num_steps": 3, "batch_size": 4} | settings
    return teacher, prune(teacher, chosen, data=data, process=PIXEL)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.9])
def test_every_layer_but_the_faces_loses_channels_and_keeps_its_groups_and_heads(ratio: float) -> None:
    teacher, student = diff_pruned(ratio)
    before = dict(teacher.named_modules())
    for name, module in student.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            old, new = before[name].weight.shape[0], module.weight.shape[0]
            assert new == old if name == "conv_out" else old * (1 - ratio) - 1 < new < old, name
        elif isinstance(module, nn.GroupNorm):
            assert module.num_groups == before[name].num_groups
            assert module.num_channels == module.weight.shape[0]
        elif isinstance(module, Attention):
            assert module.heads == before[name].heads == 4
            assert module.to_q.out_features % 4 == 0
    assert student.conv_in.in_channels == student.conv_out.out_channels == 1


def test_a_pruned_unet_works_saves_loads_and_serves_in_pipelines(tmp_path: Path) -> None:
    """Whatever its widths: by from_pretrained, on the meta device, and in diffusers' own pipelines."""
    teacher, student = diff_pruned(0.7)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 800])
    predict(student.train(), x, t, {}).square().sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    student.eval().requires_grad_(False)
    save_model(student, tmp_path / "student", "facts.json", {}, PIXEL)
    loaded = load_model(tmp_path / "student").eval()
    assert weights_digest(loaded) == weights_digest(student)
    with torch.no_grad():
        assert torch.equal(predict(loaded, x, t, {}), predict(student, x, t, {}))
    size = count_model(student, digits().shape)
    with torch.device("meta"):
        empty = type(student)(**{key: value for key, value in student.config.items() if not key.startswith("_")})
    assert count_model(empty, digits().shape) == size
    assert size.params < 0.25 * count_model(teacher, digits().shape).params
    for pipeline in (DDPMPipeline(loaded, DDPMScheduler()), DDIMPipeline(loaded, DDIMScheduler())):
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(batch_size=2, num_inference_steps=2, output_type="np").images
        assert images.shape == (2, 8, 8, 1)


def test_diff_pruning_is_the_same_every_time_and_leaves_the_teacher_alone() -> None:
    data = digits()
    teacher = teacher_of(WIDE, data)
    before = weights_digest(teacher)
    settings = {"how": "diff_pruning", "ratio": 0.5, "num_steps": 2, "batch_size": 4}
    first, again = (prune(teacher, settings, data=data, process=PIXEL) for _ in range(2))
    assert weights_digest(first) == weights_digest(again)
    assert weights_digest(teacher) == before
    assert all(parameter.grad is None for parameter in teacher.parameters())
    other = prune(teacher, {**settings, "seed": 1}, data=data, process=PIXEL)
    assert weights_digest(other) != weights_digest(first)


def test_what_matters_to_the_loss_stays() -> None:
    """Of a layer of which only the second half of each norm's group reaches the output, these halves are kept."""
    data = digits()
    teacher = teacher_of(UNET_16, data)
    kept = torch.tensor([2, 3, 6, 7, 10, 11, 14, 15])  # in 4 groups of 4
    lost = torch.tensor([index for index in range(16) if index not in kept])
    with torch.no_grad():
        teacher.conv_norm_out.weight[lost] = 0
        teacher.conv_norm_out.bias[lost] = 0
        teacher.conv_out.weight[:, lost] = 0
    settings = {"how": "diff_pruning", "ratio": 0.5, "num_steps": 2, "batch_size": 4}
    student = prune(teacher, settings, data=data, process=PIXEL)
    assert torch.equal(student.conv_out.weight, teacher.conv_out.weight[:, kept])


UNET_16 = ModelSpec(
    name="unet_16", model_class="UNet2DModel", config={**UNET.config, "block_out_channels": [16], "norm_num_groups": 4}
)


@pytest.mark.parametrize(
    ("variant", "num_down", "has_middle"), [("base", 3, True), ("small", 3, False), ("tiny", 2, False)]
)
def test_block_removal_keeps_the_weights_of_what_is_left(variant: str, num_down: int, has_middle: bool) -> None:
    data = data_for(CONDITIONAL_UNET)
    teacher = teacher_of(DEEP, data)
    student = prune(teacher, {"how": "block_removal", "variant": variant}, data=data, process=PIXEL)
    assert len(student.down_blocks) == len(student.up_blocks) == num_down
    assert (student.mid_block is not None) == has_middle
    assert {len(block.resnets) for block in student.down_blocks} == {1}
    assert {len(block.resnets) for block in student.up_blocks} == {2}
    last, own = teacher.up_blocks[-1], student.up_blocks[-1]
    for kept, index in ((0, 0), (1, 2)):
        assert torch.equal(own.resnets[kept].conv1.weight, last.resnets[index].conv1.weight)
        assert torch.equal(own.attentions[kept].proj_in.weight, last.attentions[index].proj_in.weight)
    assert torch.equal(student.down_blocks[1].resnets[0].conv1.weight, teacher.down_blocks[1].resnets[0].conv1.weight)
    predict(student, data.x_0(torch.arange(2)), torch.tensor([1, 2]), data.condition(torch.arange(2)))


@pytest.mark.parametrize(("variant", "millions"), [("base", 580), ("small", 483), ("tiny", 323)])
def test_block_removal_gives_the_published_sizes_of_stable_diffusion(variant: str, millions: float) -> None:
    """SD-v1.4: a U-Net of 0.86B parameters becomes 0.58B, 0.48B, 0.32B (Kim et al. 2024, counted)."""
    from diffusers import UNet2DConditionModel

    from trainables.pruning.block_removal import BlockRemoval

    with torch.device("meta"):
        teacher = UNet2DConditionModel(cross_attention_dim=768, sample_size=64)
        config = {name: value for name, value in teacher.config.items() if not name.startswith("_")}
        student = UNet2DConditionModel(**{**config, **BlockRemoval(variant=variant)._smaller(config)})
    assert sum(p.numel() for p in teacher.parameters()) / 1e6 == pytest.approx(860, rel=0.01)
    assert sum(p.numel() for p in student.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("spec", [DIT, MMDIT], ids=["dit", "mmdit"])
@pytest.mark.parametrize("how", ["even", "list", "learned"])
def test_depth_pruning_keeps_layers_with_their_weights(spec: ModelSpec, how: str) -> None:
    spec = ModelSpec(name=spec.name, model_class=spec.model_class, config={**spec.config, "num_layers": 4})
    data = data_for(DIT if "DiT" in spec.model_class else MMDIT)
    process = PIXEL if "DiT" in spec.model_class else Process(scheduler=FLOW, config={})
    teacher = teacher_of(spec, data)
    settings = {"list": {"layers": [0, 2, 3]}, "even": {"num_layers": 2}}
    settings["learned"] = {"num_layers": 2, "learned": True, "num_steps": 3, "batch_size": 4}
    student = prune(teacher, {"how": "depth_pruning", **settings[how]}, data=data, process=process)
    kept = {"list": [0, 2, 3], "even": [1, 3]}.get(how)
    blocks = [block.state_dict() for block in teacher.transformer_blocks]
    found = []
    for block in student.transformer_blocks:
        name, weight = next(
            (n, w)
            for n, w in block.state_dict().items()
            if n.endswith("attn.to_q.weight") or n.endswith("attn1.to_q.weight")
        )
        found.append(next(i for i, other in enumerate(blocks) if torch.equal(other[name], weight)))
    assert found == kept if kept else (found[0] in (0, 1) and found[1] == 3)
    predict(student, data.x_0(torch.arange(2)), torch.tensor([1, 2]), data.condition(torch.arange(2)))
    if spec.model_class.startswith("DiT"):
        assert student.transformer_blocks[1].norm1.emb is student.transformer_blocks[0].norm1.emb


def test_the_learned_mask_drops_a_layer_that_only_harms() -> None:
    """The first layer adds what the output reads as an error; the second adds nothing."""
    data = data_for(DIT)
    teacher = teacher_of(DIT, data)
    error = torch.ones(16)
    error[::2] = -1.0  # of mean 0, so that no norm takes it away
    with torch.no_grad():
        teacher.proj_out_2.weight.copy_(error.expand_as(teacher.proj_out_2.weight))
        for index, scale in ((0, 1.0), (1, 0.0)):
            block = teacher.transformer_blocks[index]
            block.ff.net[2].weight.zero_()
            block.ff.net[2].bias.copy_(scale * error)
            block.norm1.linear.bias.fill_(scale)
    settings = {"how": "depth_pruning", "num_layers": 2, "learned": True, "num_steps": 30, "batch_size": 8, "lr": 1e-6}
    student = prune(teacher, settings, data=data, process=PIXEL)
    kept = student.transformer_blocks[0].ff.net[2].bias
    assert torch.equal(kept, teacher.transformer_blocks[1].ff.net[2].bias)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"how": "magic"},
            "student.pruning.how must be one of diff_pruning, block_removal, depth_pruning but got 'magic'",
        ),
        (
            {"how": "diff_pruning", "ratio": 1.0},
            "student.pruning.ratio must be a number above 0 and below 1 but got 1.0",
        ),
        (
            {"how": "diff_pruning", "ratio": 0.5, "rate": 1},
            "student.pruning has no key 'rate'; allowed: ratio",
        ),
        ({"how": "block_removal", "variant": "huge"}, "student.pruning.variant must be one of base, small, tiny"),
        ({"how": "diff_pruning"}, "student.pruning must have the keys ratio but lacks ratio"),
        ({"how": "depth_pruning"}, "student.pruning must have either layers or num_layers"),
        ({"how": "depth_pruning", "num_layers": 0}, "student.pruning.num_layers must be a whole number from 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        full_settings(settings, "student.pruning")


def test_settings_are_told_in_full_and_by_the_key_of_their_entry() -> None:
    assert full_settings({"how": "block_removal"}, "student.pruning") == {"how": "block_removal", "variant": "base"}
    with pytest.raises(ValueError, match=r"teacher\.mine\.pruning\.ratio must be a number above 0"):
        full_settings({"how": "diff_pruning", "ratio": 2}, "teacher.mine.pruning")


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        (DEEP, {"how": "block_removal", "variant": "small"}),
        (DIT, {"how": "depth_pruning", "num_layers": 2}),
        (DIT, {"how": "depth_pruning", "layers": [1, 3]}),
        (MMDIT, {"how": "depth_pruning", "num_layers": 2, "learned": True, "num_steps": 1, "batch_size": 2}),
    ],
    ids=["blocks", "even", "list", "learned"],
)
def test_the_architecture_is_known_before_anything_is_there(spec: ModelSpec, settings: dict[str, Any]) -> None:
    data = data_for(CONDITIONAL_UNET if spec is DEEP else spec)
    if spec is not DEEP:
        spec = replace(spec, config={**spec.config, "num_layers": 4})
    process = Process(scheduler=FLOW, config={}) if spec.model_class.startswith("SD3") else PIXEL
    student = prune(teacher_of(spec, data), settings, data=data, process=process)
    empty = prune_shape(build_model(spec, data.shape, seed=0, device="meta"), settings, data.shape)
    assert {name: value.shape for name, value in empty.state_dict().items()} == {
        name: value.shape for name, value in student.state_dict().items()
    }
    assert all(parameter.is_meta for parameter in empty.parameters())


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        (UNET, {"how": "block_removal"}, "block_removal is for a UNet2DConditionModel but got a UNet2DModel"),
        (UNET, {"how": "depth_pruning", "num_layers": 2}, "depth_pruning is for a transformer but got a UNet2DModel"),
        (
            DIT,
            {"how": "diff_pruning", "ratio": 0.5},
            "diff_pruning is for a UNet2DModel but got a DiTTransformer2DModel",
        ),
        (DIT, {"how": "depth_pruning", "num_layers": 9}, "num_layers must be 4 or less but got 9"),
        (DIT, {"how": "depth_pruning", "layers": [0, 9]}, r"layers must be ascending and below 4 but got \[0, 9\]"),
        (MMDIT, {"how": "depth_pruning", "layers": [0, 1]}, r"layers must hold the last layer but got \[0, 1\]"),
    ],
)
def test_a_teacher_that_cannot_be_cut_so_is_named(spec: ModelSpec, settings: dict[str, Any], message: str) -> None:
    data = data_for(spec)
    with pytest.raises(ValueError, match=message):
        prune(teacher_of(spec, data), settings, data=data, process=PIXEL)


def test_the_temperature_of_learned_masks_falls_from_4_to_a_tenth() -> None:
    assert [temperature(step, 100) for step in (0, 99)] == pytest.approx([4.0, 0.1])
    assert temperature(49, 99) == pytest.approx(2.05)

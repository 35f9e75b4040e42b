"""UNet2DModel: the unconditional U-Net in pixels (the paper's Diff-Pruning experiments)."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from trainables.data.dataset import DataShape
from trainables.families.family import Family

_SUB_BLOCKS = (ResnetBlock2D, Attention, Downsample2D, Upsample2D)


def _config(shape: DataShape) -> dict[str, Any]:
    channels, height, _ = shape.image
    return {"sample_size": height, "in_channels": channels, "out_channels": channels}


def _call(
    model: nn.Module, x_t: torch.Tensor, time: torch.Tensor, _condition: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    return model(x_t, time, return_dict=False)[0]  # type: ignore[no-any-return]


def sub_block_names(model: nn.Module) -> list[str]:
    """A U-Net's residual, attention, down- and upsampling blocks."""
    return [name for name, module in model.named_modules() if isinstance(module, _SUB_BLOCKS)]


def block_names(model: nn.Module) -> list[str]:
    """A U-Net's down, mid and up blocks."""
    stages = [("down_blocks", len(model.down_blocks)), ("up_blocks", len(model.up_blocks))]  # type: ignore[arg-type]
    names = [f"{stage}.{index}" for stage, num in stages for index in range(num)]
    middle = ["mid_block"] if getattr(model, "mid_block", None) is not None else []
    return [*names[: stages[0][1]], *middle, *names[stages[0][1] :]]


def pair_blocks(student: list[str], teacher: list[str]) -> list[tuple[str, str]]:
    """Blocks of one resolution: up and down blocks counted from the outside in; a student may lack some."""
    shift = sum(name.startswith("up_") for name in teacher) - sum(name.startswith("up_") for name in student)
    pairs = []
    for name in student:
        stage, _, index = name.partition(".")
        pairs.append((name, f"{stage}.{int(index) + shift}" if stage == "up_blocks" else name))
    return [pair for pair in pairs if pair[1] in teacher]


FAMILY = Family(
    model_class=UNet2DModel,
    pipeline="DDPMPipeline",
    component="unet",
    config=_config,
    call=_call,
    sub_blocks=sub_block_names,
    blocks=block_names,
    pair=pair_blocks,
    cut_by=("diff_pruning",),
)

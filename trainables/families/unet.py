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
from trainables.families.family import Family, fewer_channels

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
    """A U-Net's down blocks, each also before its downsampler, and its up blocks; BK-SDM compares no middle block."""
    names = []
    for index, block in enumerate(model.down_blocks):  # type: ignore[arg-type]
        kind = "attentions" if getattr(block, "attentions", None) else "resnets"
        names.append(f"down_blocks.{index}.{kind}.{len(getattr(block, kind)) - 1}")
        if block.downsamplers is not None:
            names.append(f"down_blocks.{index}")
    return names + [f"up_blocks.{index}" for index in range(len(model.up_blocks))]  # type: ignore[arg-type]


def pair_blocks(student: list[str], teacher: list[str]) -> list[tuple[str, str]]:
    """Blocks of one resolution: down and up blocks counted from the outside in; a student may lack some.

    A student's last down block has no downsampler: its last attention (or residual block) is compared with the
    teacher's there, whatever follows it.
    """
    shift = sum(name.startswith("up_") for name in teacher) - sum(name.startswith("up_") for name in student)
    pairs = []
    for name in student:
        stage, index, *inner = name.split(".")
        block = f"{stage}.{index}"
        if stage == "up_blocks":
            pairs.append((name, f"up_blocks.{int(index) + shift}"))
        elif not inner:
            pairs.append((name, name))
        elif block not in student:
            pairs += [(name, other) for other in teacher if other.startswith(f"{block}.{inner[0]}.")]
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
    narrow=fewer_channels,
)

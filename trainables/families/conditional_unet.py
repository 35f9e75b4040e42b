"""UNet2DConditionModel: the text-conditioned U-Net in latents (Stable Diffusion; the paper's BK-SDM experiments)."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from trainables.data.dataset import TEXT, DataShape
from trainables.families.family import Family
from trainables.families.unet import block_names, pair_blocks


def _config(shape: DataShape) -> dict[str, Any]:
    channels, height, _ = shape.image
    text = {} if shape.text is None else {"cross_attention_dim": shape.text[1]}
    return {"sample_size": height, "in_channels": channels, "out_channels": channels, **text}


def _call(
    model: nn.Module, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    return model(x_t, time, encoder_hidden_states=condition[TEXT], return_dict=False)[0]  # type: ignore[no-any-return]


FAMILY = Family(
    model_class=UNet2DConditionModel,
    pipeline="StableDiffusionPipeline",
    component="unet",
    config=_config,
    call=_call,
    blocks=block_names,
    pair=pair_blocks,
    cut_by=("block_removal",),
    needs=(TEXT,),
)

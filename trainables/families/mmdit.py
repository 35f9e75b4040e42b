"""SD3Transformer2DModel: the text-conditioned MMDiT that predicts the velocity of a flow (Esser et al. 2024)."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch import nn

from trainables.data.dataset import POOLED, TEXT, DataShape
from trainables.families.family import Family


def _config(shape: DataShape) -> dict[str, Any]:
    channels, height, _ = shape.image
    config: dict[str, Any] = {"sample_size": height, "in_channels": channels, "out_channels": channels}
    if shape.text is not None:
        config["joint_attention_dim"] = shape.text[1]
    if shape.pooled is not None:
        config["pooled_projection_dim"] = shape.pooled
    return config


def _call(
    model: nn.Module, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    text, pooled = condition[TEXT], condition[POOLED]
    inputs = {"encoder_hidden_states": text, "pooled_projections": pooled, "timestep": time}
    return model(x_t, **inputs, return_dict=False)[0]  # type: ignore[no-any-return]


def _layers(model: nn.Module) -> list[str]:
    return [f"transformer_blocks.{index}" for index in range(len(model.transformer_blocks))]  # type: ignore[arg-type]


def _image_tokens(output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """A joint block returns the tokens of the text and those of the image."""
    return output[1]


FAMILY = Family(
    model_class=SD3Transformer2DModel,
    pipeline="StableDiffusion3Pipeline",
    component="transformer",
    config=_config,
    call=_call,
    blocks=_layers,
    layers=_layers,
    cut_by=("depth_pruning",),
    needs=(TEXT, POOLED),
    feature=_image_tokens,
)

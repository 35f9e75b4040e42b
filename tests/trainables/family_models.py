"""Miniatures of every family, and data for them."""

import torch

from trainables.data import Dataset
from trainables.data.dataset import CLASSES, POOLED, TEXT
from trainables.specs import ModelSpec

UNET = ModelSpec(
    name="unet",
    model_class="UNet2DModel",
    config={
        "block_out_channels": [4],
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "layers_per_block": 1,
        "add_attention": False,
        "norm_num_groups": 2,
    },
)
CONDITIONAL_UNET = ModelSpec(
    name="conditional_unet",
    model_class="UNet2DConditionModel",
    config={
        "block_out_channels": [4, 8],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 2,
    },
)
DIT = ModelSpec(
    name="dit",
    model_class="DiTTransformer2DModel",
    config={"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 4, "patch_size": 2, "norm_num_groups": 2},
)
MMDIT = ModelSpec(
    name="mmdit",
    model_class="SD3Transformer2DModel",
    config={
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 3,
        "patch_size": 2,
        "caption_projection_dim": 16,
        "pos_embed_max_size": 8,
    },
)
ALL = {spec.name: spec for spec in (UNET, CONDITIONAL_UNET, DIT, MMDIT)}


def data_for(spec: ModelSpec, num_images: int = 20, channels: int = 4, size: int = 8) -> Dataset:
    """Random images with the conditions that the family takes."""
    draw = torch.Generator().manual_seed(3)
    images = torch.rand((num_images, channels, size, size), generator=draw) * 2 - 1
    text, pooled = torch.randn((num_images, 5, 6), generator=draw), torch.randn((num_images, 7), generator=draw)
    if spec is DIT:
        labels = torch.arange(num_images) % 3
        return Dataset(images=images, conditions={CLASSES: labels}, null={CLASSES: torch.tensor(3)}, num_classes=3)
    if spec is CONDITIONAL_UNET:
        return Dataset(images=images, conditions={TEXT: text}, null={TEXT: torch.zeros(5, 6)})
    if spec is MMDIT:
        null = {TEXT: torch.zeros(5, 6), POOLED: torch.zeros(7)}
        return Dataset(images=images, conditions={TEXT: text, POOLED: pooled}, null=null)
    return Dataset(images=images)

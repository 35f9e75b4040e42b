"""DiTTransformer2DModel: the class-conditional transformer with learned variance (Peebles and Xie 2023; TinyFusion).

diffusers gives every block an embedder of timestep and class of its own. DiT has one for all, and in its published
weights they are copies: equal ones are shared here, so that DiT-XL/2 has the 675.1M parameters it is known by, and
training keeps them equal. The model's own label dropout is off: the batch says which labels are dropped, for teacher
and student alike.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from diffusers import DiTTransformer2DModel
from torch import nn

from trainables.data.dataset import CLASSES, DataShape
from trainables.families.family import Family, fewer_heads


def _config(shape: DataShape) -> dict[str, Any]:
    channels, height, _ = shape.image
    classes = {} if shape.num_classes is None else {"num_embeds_ada_norm": shape.num_classes}
    return {"sample_size": height, "in_channels": channels, "out_channels": 2 * channels, **classes}


def _call(
    model: nn.Module, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    labels = condition[CLASSES]
    return model(x_t, timestep=time, class_labels=labels, return_dict=False)[0]  # type: ignore[no-any-return]


def _layers(model: nn.Module) -> list[str]:
    return [f"transformer_blocks.{index}" for index in range(len(model.transformer_blocks))]  # type: ignore[arg-type]


def _prepare(model: Any, fresh: bool) -> None:
    embedders = [block.norm1.emb for block in model.transformer_blocks]
    for embedder in embedders:
        embedder.class_embedder.dropout_prob = 0.0
    if fresh or all(_equal(embedder, embedders[0]) for embedder in embedders[1:]):
        for block in model.transformer_blocks[1:]:
            block.norm1.emb = embedders[0]


def _equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def _plain(model: Any) -> Any:
    plain = deepcopy(model)
    for block in plain.transformer_blocks:
        block.norm1.emb = deepcopy(block.norm1.emb)
    return plain


FAMILY = Family(
    model_class=DiTTransformer2DModel,
    pipeline="DiTPipeline",
    component="transformer",
    config=_config,
    call=_call,
    blocks=_layers,
    layers=_layers,
    cut_by=("depth_pruning",),
    needs=(CLASSES,),
    is_sized=True,
    narrow=fewer_heads,
    prepare=_prepare,
    plain=_plain,
)


class OfficialDiTTransformer2DModel(DiTTransformer2DModel):  # type: ignore[misc]
    """DiT with the time embedding that its published weights were trained with: its frequencies are
    10000^(-i / 128), where diffusers' class has 10000^(-i / 127) and no setting, which changes the output by 0.7.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        for block in self.transformer_blocks:
            block.norm1.emb.time_proj.downscale_freq_shift = 0

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        """What diffusers hands over of a config file."""
        return set(DiTTransformer2DModel._get_init_keys(DiTTransformer2DModel))


OFFICIAL_FAMILY = replace(FAMILY, model_class=OfficialDiTTransformer2DModel)

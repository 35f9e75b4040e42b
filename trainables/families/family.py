"""What the system must know of a diffusers model class. One file of this folder knows one class.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainables.data.dataset import DataShape

Names = Callable[[nn.Module], list[str]]


def _nothing(_model: nn.Module, _fresh: bool) -> None: ...


def _itself(model: nn.Module) -> nn.Module:
    return model


def _first(output: Any) -> torch.Tensor:
    """The activation among what a block returns."""
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


def pair_evenly(student: list[str], teacher: list[str]) -> list[tuple[str, str]]:
    """The i-th of n student layers with the last of the teacher's i-th n-th: where it should have got to."""
    step = len(teacher) / len(student)
    return [(name, teacher[round((index + 1) * step) - 1]) for index, name in enumerate(student)]


def fewer_channels(config: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Of a U-Net: channels that groups and heads divide."""
    wanted = [max(1.0, channels * factor) for channels in config["block_out_channels"]]
    unit = 1
    while 2 * unit <= min(*wanted, config["norm_num_groups"] or 32):
        unit *= 2
    found: dict[str, Any] = {"block_out_channels": [unit * max(1, round(one / unit)) for one in wanted]}
    found["norm_num_groups"] = unit
    if isinstance(heads := config.get("attention_head_dim"), int):
        found["attention_head_dim"] = min(heads, unit)
    return found


def fewer_heads(config: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Of a transformer: whole heads, and below one head a narrower one, in steps of 4 (position embeddings)."""
    heads, width = config["num_attention_heads"], config["attention_head_dim"]
    if heads * factor >= 1:
        return {"num_attention_heads": round(heads * factor)}
    return {"num_attention_heads": 1, "attention_head_dim": max(4, 4 * round(width * heads * factor / 4))}


def _none(_model: nn.Module) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class Family:
    """A diffusers model class.

    config: the keys of its config that follow from the data; a user cannot set them.
    call: model, x_t (B, C, H, W), what it is told of the time (B,), condition -> (B, C or 2C, H, W), 2C where it learns
    the variance too.
    sub_blocks, blocks, layers: names of the modules whose outputs the feature losses fitnet, block and masked compare,
    in the order of definition.
    pair: names of student and teacher blocks or layers -> pairs of them.
    feature: the activation among what such a module returns.
    cut_by: the ways of trainables/pruning that cut students from such a model.
    pipeline, component: diffusers' pipeline that samples from such a model, and what it calls the model.
    needs: what it is conditioned on, by the keywords of trainables/data/dataset.py.
    is_sized: whether its weights are for images of its config's sample_size alone.
    narrow: the config of a model, a factor of its width -> the keys that change; None: they are not made narrower.
    prepare: changes a model after it was built (fresh) or loaded. plain: the model as diffusers can save it.
    """

    model_class: Any
    pipeline: str
    component: str
    config: Callable[[DataShape], Mapping[str, Any]]
    call: Callable[[Any, torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]
    sub_blocks: Names = _none
    blocks: Names = _none
    layers: Names = _none
    pair: Callable[[list[str], list[str]], list[tuple[str, str]]] = pair_evenly
    feature: Callable[[Any], torch.Tensor] = _first
    cut_by: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    is_sized: bool = False
    narrow: Callable[[Mapping[str, Any], float], Mapping[str, Any]] | None = None
    prepare: Callable[[Any, bool], None] = _nothing
    plain: Callable[[Any], Any] = _itself

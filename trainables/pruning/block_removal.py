"""BK-SDM (Kim et al. 2024): a latent U-Net without some of its residual and attention blocks."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from trainables.checks import require_choice
from trainables.data import Dataset, DataShape
from trainables.process import Process

_PER_STAGE = ("block_out_channels", "attention_head_dim", "down_block_types")
_INNER = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)")
_OUTER = re.compile(r"up_blocks\.(\d+)\.(.*)")


@dataclass(frozen=True, kw_only=True)
class BlockRemoval:
    """base: one residual/attention pair is left of every down stage (the first), two of every up stage (the first and
    the last). small: base without the middle block. tiny: small without the innermost stage. What is left keeps its
    weights.
    """

    variant: str = "base"

    def __post_init__(self) -> None:
        require_choice("student.pruning.variant", self.variant, ("base", "small", "tiny"))

    def __call__(self, teacher: nn.Module, _data: Dataset, _process: Process) -> nn.Module:
        student = self._smaller_model(teacher)
        config: Any = teacher.config
        weights, last = teacher.state_dict(), config["layers_per_block"]
        student.load_state_dict({name: weights[self._source(name, last)] for name in student.state_dict()})
        return student

    def without_weights(self, teacher: nn.Module, _shape: DataShape) -> nn.Module:
        """A student of the same blocks on the meta device."""
        with torch.device("meta"):
            return self._smaller_model(teacher)

    def _smaller_model(self, teacher: nn.Module) -> nn.Module:
        if not isinstance(teacher, UNet2DConditionModel):
            raise ValueError(f"block_removal is for a UNet2DConditionModel but got a {type(teacher).__name__}")
        config = {name: value for name, value in teacher.config.items() if not name.startswith("_")}
        return UNet2DConditionModel(**{**config, **self._smaller(config)})  # type: ignore[no-any-return]

    def _smaller(self, config: dict[str, Any]) -> dict[str, Any]:
        smaller: dict[str, Any] = {"layers_per_block": 1}
        if self.variant != "base":
            smaller["mid_block_type"] = None
        if self.variant == "tiny":
            per_stage = {name: config[name] for name in _PER_STAGE if isinstance(config[name], list | tuple)}
            smaller |= {name: values[:-1] for name, values in per_stage.items()}
            smaller["up_block_types"] = config["up_block_types"][1:]
        return smaller

    def _source(self, name: str, last: int) -> str:
        """The teacher's name of a student's weight; `last`: the index of the last pair of an up stage."""
        shift = 1 if self.variant == "tiny" else 0
        if inner := _INNER.fullmatch(name):
            side, stage, kind, index, rest = inner.groups()
            if side == "up":
                return f"up_blocks.{int(stage) + shift}.{kind}.{last if int(index) else 0}.{rest}"
        elif outer := _OUTER.fullmatch(name):
            return f"up_blocks.{int(outer[1]) + shift}.{outer[2]}"
        return name

"""The models of the paper's pixel-space study (method.md), and members of it, without Hydra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from trainables.data import Dataset, DataShape
from trainables.data.digits import Digits
from trainables.losses.methods import make_method
from trainables.protocol import EvaluationSpec
from trainables.specs import Member, ModelSpec, TeacherSpec, TrainSpec

# Settings of the paper's pixel-space recipe, and its group size.
RECIPE = {
    "lambda_out": 1.0,
    "feature": "fitnet",
    "lambda_feat": 1e-6,
    "group_size": 16,
    "coarse_norm": "l1",
    "gate": "adaptive",
    "eps": 1e-7,
}


@dataclass(frozen=True)
class System:
    """A teacher, a student and a batch of one image size."""

    teacher: ModelSpec
    student: ModelSpec
    image: tuple[int, int, int]  # C, H, W
    batch_size: int

    @property
    def shape(self) -> DataShape:
        return DataShape(image=self.image)

    def data(self, num_images: int) -> Dataset:
        """Images of noise."""
        images = torch.rand((num_images, *self.image), generator=torch.Generator().manual_seed(0))
        return Dataset(images=images * 2 - 1)


def unet(channels: int, multiples: tuple[int, ...], *, attention_at: int, layers_per_block: int = 2) -> ModelSpec:
    """A DDPM U-Net; attention_at: the level with attention. 128 x (1, 2, 2, 2, 4) at 64x64 is the CelebA teacher."""
    down = ["DownBlock2D"] * len(multiples)
    up = ["UpBlock2D"] * len(multiples)
    down[attention_at], up[-1 - attention_at] = "AttnDownBlock2D", "AttnUpBlock2D"
    config: dict[str, Any] = {
        "block_out_channels": [channels * multiple for multiple in multiples],
        "down_block_types": down,
        "up_block_types": up,
        "layers_per_block": layers_per_block,
        "norm_num_groups": min(32, channels // 2),
    }
    return ModelSpec(name=f"unet_{channels}", model_class="UNet2DModel", config=config)


def member(system: System, method: str, *, num_steps: int, precision: str = "float32", **settings: Any) -> Member:
    """A member of seed 0. Its data set is only named: the benchmark hands its own images to the engine."""
    train = TrainSpec(steps=num_steps, batch_size=system.batch_size, lr=2e-4, precision=precision)
    return Member(
        data=Digits(),
        teacher=TeacherSpec(model=system.teacher, train=train, data=Digits()),
        student=system.student,
        method=make_method(method, RECIPE | settings, num_elements=system.shape.num_elements),
        seed=0,
        train=train,
        evaluation=EvaluationSpec(num_images=16, feature_extractor="digits-cnn-v1"),
    )

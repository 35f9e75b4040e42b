"""`mnist-cnn-v1`: the feature extractor of `data=mnist`, a small CNN that reads 32x32 digits.

Its weights are fixed and shipped; train_mnist_cnn.py beside this file made them. Shapes: B batch.
"""

from pathlib import Path

import torch
from torch import nn

from trainables.evaluation.extractors.shipped_cnn import Version

IMAGE_SIZE = 32
NUM_FEATURES = 64


class MnistNetwork(nn.Module):
    """Grey images (B, 1, 32, 32) in [0, 1] to features (B, 64), after a leaky ReLU, and logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 48)):  # 32x32 -> 16x16 -> 8x8 -> 4x4
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.embed = nn.Linear(48 * (IMAGE_SIZE // 8) ** 2, NUM_FEATURES)
        self.classify = nn.Linear(NUM_FEATURES, 10)

    def forward(self, x_B1HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = nn.functional.leaky_relu(self.embed(self.trunk(x_B1HW)), 0.1)
        return features, self.classify(features)


VERSION = Version(
    name="mnist-cnn-v1",
    network=MnistNetwork,
    side=IMAGE_SIZE,
    weights_path=Path(__file__).with_name("mnist_cnn_v1.safetensors"),
    sha256="51f0401f932b337d56cbb9b7e537e7e45d098f48021caa85a07a28a35272ce70",
)

"""`digits-cnn-v1`: the feature extractor of the embedded study, a small CNN that reads scikit-learn's 8x8 digits.

Its weights are fixed and shipped; train_digits_cnn.py beside this file made them. Shapes: B batch.
"""

from pathlib import Path

import torch
from torch import nn

from trainables.evaluation.extractors.shipped_cnn import Version

IMAGE_SIZE = 8
NUM_FEATURES = 64


class DigitsNetwork(nn.Module):
    """Grey images (B, 1, 8, 8) in [0, 1] to features (B, 64), after a leaky ReLU, and logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.embed = nn.Linear(32 * (IMAGE_SIZE // 2) ** 2, NUM_FEATURES)
        self.classify = nn.Linear(NUM_FEATURES, 10)

    def forward(self, x_B1HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = nn.functional.leaky_relu(self.embed(self.trunk(x_B1HW)), 0.1)
        return features, self.classify(features)


VERSION = Version(
    name="digits-cnn-v1",
    network=DigitsNetwork,
    side=IMAGE_SIZE,
    weights_path=Path(__file__).with_name("digits_cnn_v1.safetensors"),
    sha256="13f0c85a538674446b8684e1d6ab07e5eb046904bbd5da9a15c3baccfd2a8e08",
)

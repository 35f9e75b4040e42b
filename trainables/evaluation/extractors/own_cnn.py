"""`own-v1`: a small CNN that is trained on the study's own images, where no shipped extractor knows their like.

The name stands for this network and for the recipe of train_own_cnn.py; which weights come of it follows from the
images. A FID in its features compares only within one study. Shapes: B batch, S side of the images, D features.
"""

import math
from itertools import pairwise

import torch
from torch import nn

from trainables.evaluation.extractors.two_layers import TwoLayers

NAME = "own-v1"
NUM_FEATURES = 64
SIDES = (8, 256)  # of the images, both included
LARGEST_INSIDE = 64  # larger images are folded into more channels, which loses nothing
WIDTHS = (16, 32, 48, 64)
SHARPNESS = 8.0  # of the logits: a direction has length 1


class OwnNetwork(nn.Module):
    """Images (B, 3, S, S) in [0, 1] to features (B, 64) and logits (B, num_classes + num_done).

    Features have one length, `scale`: an image that is spoilt beyond measure is not further away than any other.
    num_done: what may have been done to the image; those logits come last.
    """

    scale: torch.Tensor

    def __init__(self, side: int, num_classes: int, num_done: int) -> None:
        super().__init__()
        self.fold = -(-side // LARGEST_INSIDE)
        self.margin = -side % self.fold
        num_levels = int(math.log2((side + self.margin) // self.fold // 4))  # down to 4x4 (to 7x7, averaged)
        channels = (3 * self.fold**2, *WIDTHS[:num_levels])
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
        layers += [nn.Conv2d(channels[-1], WIDTHS[-1], 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        self.trunk = nn.Sequential(*layers)
        self.embed = nn.Linear(WIDTHS[-1] * 4**2, NUM_FEATURES)
        self.classify = nn.Linear(NUM_FEATURES, num_classes + num_done)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x_B3SS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.margin:
            x_B3SS = nn.functional.pad(x_B3SS, (0, self.margin, 0, self.margin), mode="replicate")
        folded = nn.functional.pixel_unshuffle(x_B3SS, self.fold)
        directions = nn.functional.normalize(self.embed(self.trunk(folded)), dim=1)
        return self.scale * directions, self.classify(SHARPNESS * directions)


class OwnCNN(TwoLayers):
    """torch-fidelity extractor: uint8 (B, 3, S, S) to float64 features `64` and `logits`.

    The logits are of the classes (B, num_classes); with num_classes=0, of images without classes, there are none, and
    then there is no Inception Score. It computes in float64, as the shipped ones do.
    """

    def __init__(self, network: OwnNetwork, side: int, num_classes: int) -> None:
        super().__init__(NAME, list(self.get_provided_features_list()))
        self.network, self.side, self.num_classes = network, side, num_classes
        self.double().requires_grad_(False).eval()

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features and logits."""
        if input.dtype != torch.uint8 or input.shape[1:] != (3, self.side, self.side):
            raise ValueError(
                f"this {NAME} reads uint8 images (B, 3, {self.side}, {self.side}), but got {input.dtype}"
                f" {tuple(input.shape)}"
            )
        features, logits = self.network(input.double() / 255.0)
        return features, logits[:, : self.num_classes]

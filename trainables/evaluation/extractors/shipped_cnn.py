"""What the extractors with shipped weights share: one small network each, fixed by the sha256 of its file.

Inception knows nothing of images as small as these. A network that was trained on their like does, and with it a FID
separates good ones from bad ones without a download. FIDs of a network compare with each other and with nothing else,
so other weights are another version and need another name. Shapes: B batch.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from trainables.evaluation.extractors.two_layers import TwoLayers


@dataclass(frozen=True, kw_only=True)
class Version:
    """A network and its weights. `network` makes one that maps grey images (B, 1, side, side) in [0, 1] to features
    (B, 64) and logits (B, 10).
    """

    name: str
    network: Callable[[], nn.Module]
    side: int
    weights_path: Path
    sha256: str

    def load_weights(self, path: Path) -> dict[str, torch.Tensor]:
        """The tensors of a safetensors file that must have this version's sha256; ValueError otherwise."""
        if not path.is_file():
            raise ValueError(f"the weights of {self.name} are missing: no file {path}")
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:
            raise ValueError(
                f"{path.name} is not the weights of {self.name}: sha256 {digest}, but it must be {self.sha256}"
            )
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(content)
        return tensors


class ShippedCNN(TwoLayers):
    """torch-fidelity extractor: uint8 (B, 3, side, side) to float64 features `64` and `logits`.

    It computes in float64: so small a network costs little, and batch sizes then agree to 1e-12 instead of 1e-6, which
    matters where a FID is a small difference of large terms.
    """

    def __init__(self, version: Version, weights_path: Path | None = None) -> None:
        """Raises ValueError where the weights file is not the one that the version stands for."""
        super().__init__(version.name, ["64", "logits"])
        self.version = version
        with torch.device("meta"):  # initial weights are never drawn, so the global generator is left alone
            self.network = version.network()
        self.network.load_state_dict(version.load_weights(weights_path or version.weights_path), assign=True)
        self.double().requires_grad_(False).eval()

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The requested features in the order in which they were requested."""
        side = self.version.side
        if input.dtype != torch.uint8 or input.shape[1:] != (3, side, side):
            raise ValueError(
                f"{self.version.name} reads uint8 images (B, 3, {side}, {side}), but got {input.dtype}"
                f" {tuple(input.shape)}"
            )
        grey = input.double().mean(dim=1, keepdim=True) / 255.0
        features, logits = self.network(grey)
        layers = {"64": features, "logits": logits}
        return tuple(layers[name] for name in self.features_list)

"""`digits-cnn-v1`: the feature extractor of the embedded study, a small CNN that reads scikit-learn's 8x8 digits.

Inception knows nothing of 8x8 images. This network does, and with it a FID separates good digits from bad ones without
a download. Its weights are fixed and shipped; train_digits_cnn.py beside this file made them. FIDs of it compare with
each other and with nothing else, so other weights are another version and need another name. Shapes: B batch.
"""

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

NAME = "digits-cnn-v1"
WEIGHTS_PATH = Path(__file__).with_name("digits_cnn_v1.safetensors")
WEIGHTS_SHA256 = "13f0c85a538674446b8684e1d6ab07e5eb046904bbd5da9a15c3baccfd2a8e08"
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


class DigitsCNN(FeatureExtractorBase):  # type: ignore[misc]
    """torch-fidelity extractor: uint8 (B, 3, 8, 8) to float64 features `64` and `logits`.

    It computes in float64: at 8x8 that costs little, and batch sizes then agree to 1e-12 instead of 1e-6, which matters
    where a FID is a small difference of large terms.
    """

    def __init__(
        self,
        name: str,
        features_list: list[str],
        feature_extractor_weights_path: str | Path | None = None,
        **kwargs: object,
    ) -> None:
        """Raises ValueError where the weights file is not the one this version stands for; `kwargs` are not used."""
        super().__init__(name, features_list)
        with torch.device("meta"):  # initial weights are never drawn, so the global generator is left alone
            self.network = DigitsNetwork()
        self.network.load_state_dict(load_weights(Path(feature_extractor_weights_path or WEIGHTS_PATH)), assign=True)
        self.double().requires_grad_(False).eval()

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The requested features in the order in which they were requested."""
        if input.dtype != torch.uint8 or input.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"{NAME} reads uint8 images (B, 3, 8, 8), but got {input.dtype} {tuple(input.shape)}")
        grey = input.double().mean(dim=1, keepdim=True) / 255.0
        features, logits = self.network(grey)
        layers = {"64": features, "logits": logits}
        return tuple(layers[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("64", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"isc": "logits", "fid": "64", "kid": "64", "prc": "64"}[metric]

    @staticmethod
    def can_be_compiled() -> bool:
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> torch.Tensor:
        return torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The network's tensors from a safetensors file that must have this version's sha256; ValueError otherwise."""
    if not path.is_file():
        raise ValueError(f"the weights of {NAME} are missing: no file {path}")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise ValueError(f"{path.name} is not the weights of {NAME}: sha256 {digest}, but it must be {WEIGHTS_SHA256}")
    tensors: dict[str, torch.Tensor] = safetensors.torch.load(content)
    return tensors


if NAME not in FEATURE_EXTRACTORS_REGISTRY:
    register_feature_extractor(NAME, DigitsCNN)

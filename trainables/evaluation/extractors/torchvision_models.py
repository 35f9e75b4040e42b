"""`torchvision/<architecture>`: any classifier of torchvision, with the weights of a file that the user has.

The features are what its last linear layer reads, the logits what that gives; images are resized and normalised as
torchvision's ImageNet weights expect them. Shapes: B batch, D features, L classes.
"""

from pathlib import Path

import torch
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from trainables.evaluation.extractors.inception import KEY, read_tensors

PREFIX = "torchvision/"
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for images in [0, 1]
ALLOWED = "the path of a state dict of that architecture (.pth or .safetensors)"


class TorchvisionModel(FeatureExtractorBase):  # type: ignore[misc]
    """torch-fidelity extractor: uint8 (B, 3, H, W) to float32 features (B, D), named by D, and `logits` (B, L)."""

    def __init__(self, name: str, network: nn.Module, last: nn.Linear) -> None:
        self.layer = str(last.in_features)
        super().__init__(name, [self.layer, "logits"])
        self.network, self.last = network, last
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features and logits."""
        read: list[torch.Tensor] = []
        hook = self.last.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            sized = nn.functional.interpolate(
                input.float() / 255, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
            )
            logits = self.network((sized - self.mean) / self.std)
        finally:
            hook.remove()
        return read[0].flatten(1), logits

    def get_provided_features_list(self) -> tuple[str, ...]:
        return (self.layer, "logits")

    def get_default_feature_layer_for_metric(self, metric: str) -> str:
        return "logits" if metric == "isc" else self.layer

    @staticmethod
    def can_be_compiled() -> bool:
        return False


def make_torchvision(name: str, weights_path: Path | None) -> TorchvisionModel:
    """The extractor on the CPU. Raises ValueError for an unknown architecture, and without weights of it."""
    from torchvision import models

    architecture = name.removeprefix(PREFIX)
    known = models.list_models(module=models)
    if architecture not in known:
        raise ValueError(f"evaluation.feature_extractor={name} must be {PREFIX} and one of {', '.join(known)}")
    if weights_path is None:
        raise ValueError(
            f"{KEY} must be given for {name}, whose weights would be random without it; allowed: {ALLOWED}"
        )
    state = read_tensors(weights_path)
    with torch.device("meta"):
        linear = _last_linear(models.get_model(architecture, weights=None), name)
        weight = state.get(f"{linear}.weight")
        if weight is None:
            raise ValueError(f"{KEY}={weights_path} does not hold {linear}.weight of {name}; allowed: {ALLOWED}")
        network = models.get_model(architecture, weights=None, num_classes=len(weight))
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{KEY}={weights_path} does not hold the weights of {name}; allowed: {ALLOWED}") from error
    last = network.get_submodule(linear)
    assert isinstance(last, nn.Linear)
    return TorchvisionModel(name, network, last)


def _last_linear(network: nn.Module, name: str) -> str:
    found: list[str] = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise ValueError(f"evaluation.feature_extractor={name} has no linear layer whose input could be its features")
    return found[-1]

"""A feature extractor of a user's: evaluation.feature_extractor=module:name.

It is a torch-fidelity extractor, or a module whose forward takes uint8 images (B, 3, H, W) and returns features (B, D),
or features and the logits (B, L) of the Inception Score, which without logits is not measured. It is made without
arguments, or of the path evaluation.extractor_weights where that is given; what it draws when it is made is the same
everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from trainables import plugins
from trainables.seeds import derived_seed

_KEY = "evaluation.feature_extractor"


class OwnExtractor(FeatureExtractorBase):  # type: ignore[misc]
    """A user's module as torch-fidelity asks for one."""

    def __init__(self, path: str, module: nn.Module) -> None:
        super().__init__(path, ["features", "logits"])
        self.module = module
        self.place = nn.Parameter(torch.zeros(()))  # says on which device it is, also of a module without weights

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, D) and logits (B, L) of uint8 images (B, 3, H, W); L = 0 where the module has none."""
        found: Any = self.module(images)
        features, logits = found if isinstance(found, tuple) else (found, images.new_zeros((len(images), 0)).float())
        if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != len(images):
            said = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
            raise ValueError(f"{_KEY}={self.name} must return features ({len(images)}, D) but returned {said}")
        return features, logits


def make_own_extractor(path: str, weights: Path | None) -> FeatureExtractorBase:
    """Raises ValueError where module:name makes no module."""
    make = plugins.load(_KEY, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(0, path))
        try:
            made = make() if weights is None else make(str(weights))
        except Exception as error:  # a user's code fails in whatever way
            raise ValueError(f"{_KEY}={path} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"{_KEY}={path} must make a torch module but made {made!r}")
    return made if isinstance(made, FeatureExtractorBase) else OwnExtractor(path, made)

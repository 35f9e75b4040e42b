"""The features that a model's passes leave: which modules a feature loss reads, their outputs, their shapes.

Shapes: B batch, C channels, H height, W width, N tokens, D features of a token.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from trainables.data import DataShape
from trainables.families import family_of, predict
from trainables.losses.features import feature_loss
from trainables.models import example_inputs


def feature_names(model: nn.Module, feature: str) -> list[str]:
    """The modules of the model that the feature loss looks at. Raises ValueError when such a model has none."""
    points: list[str] = getattr(family_of(model), feature_loss(feature).points)(model)
    if not points:
        raise ValueError(f"method.feature={feature} does not apply to a {type(model).__name__}")
    return points


def record_features(model: nn.Module, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """From now on every pass leaves the outputs (B, C, H, W) or (B, N, D) of the named modules in the mapping."""
    features: dict[str, torch.Tensor] = {}
    feature_of = family_of(model).feature

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            features[name] = feature_of(output)

        return hook

    modules = dict(model.named_modules())
    for name in names:
        modules[name].register_forward_hook(keep(name))
    return features


def feature_shapes(model: nn.Module, shape: DataShape, features: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    """Shapes of the features that one image leaves in the mapping of `record_features`."""
    parameter = next(model.parameters())
    was_training = model.training
    with torch.no_grad():  # dropout would draw
        predict(model.eval(), *example_inputs(shape, 1, parameter.device, parameter.dtype))
    model.train(was_training)
    shapes = {name: feature.shape for name, feature in features.items()}
    features.clear()
    return shapes

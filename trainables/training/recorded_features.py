"""The features that a model's passes leave: which modules a feature loss reads, their outputs, their shapes.

Shapes: B batch, C channels, H height, W width, N tokens, D features of a token.
"""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from trainables.data import DataShape
from trainables.families import family_of, predict
from trainables.losses.features import Shapes, feature_loss
from trainables.models import example_inputs
from trainables.specs import Member

_recording: WeakKeyDictionary[nn.Module, list[RemovableHandle]] = WeakKeyDictionary()


def feature_names(model: nn.Module, feature: str) -> list[str]:
    """The modules of the model that the feature loss looks at. Raises ValueError when such a model has none."""
    points: list[str] = getattr(family_of(model), feature_loss(feature).points)(model)
    if not points:
        raise ValueError(f"method.feature={feature} does not apply to a {type(model).__name__}")
    return points


def record_features(model: nn.Module, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """From now on every pass leaves the outputs (B, C, H, W) or (B, N, D) of the named modules in the mapping, until
    features of the same model are asked for again.
    """
    features: dict[str, torch.Tensor] = {}
    feature_of = family_of(model).feature

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            features[name] = feature_of(output)

        return hook

    for handle in _recording.pop(model, []):
        handle.remove()
    modules = dict(model.named_modules())
    _recording[model] = [modules[name].register_forward_hook(keep(name)) for name in names]
    return features


def teacher_features(
    members: Sequence[Member], teacher: nn.Module | None, shape: DataShape
) -> tuple[dict[str, torch.Tensor], dict[str, Shapes]]:
    """The mapping that the teacher's passes fill, and by feature loss the shapes that one image leaves there."""
    wanted = sorted({member.method.feature for member in members} - {"none"})
    if teacher is None or not wanted:
        return {}, {}
    names = {feature: feature_names(teacher, feature) for feature in wanted}
    features = record_features(teacher, list(dict.fromkeys(name for some in names.values() for name in some)))
    shapes = feature_shapes(teacher, shape, features)
    return features, {
        feature: {name: shape for name, shape in shapes.items() if name in some} for feature, some in names.items()
    }


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

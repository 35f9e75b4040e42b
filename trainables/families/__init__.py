"""The diffusers model classes that can be teachers and students: a file each, and a line here.

One of a user's is model_class=module:name, a Family; it is known by its class from then on.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from trainables import plugins
from trainables.families import conditional_unet, dit, mmdit, pruned_unet, unet
from trainables.families.family import Family

__all__ = ["FAMILIES", "Family", "family_of", "find_family", "predict", "split_variance"]

FAMILIES: dict[str, Family] = {
    family.model_class.__name__: family
    for family in (
        unet.FAMILY,
        pruned_unet.FAMILY,
        conditional_unet.FAMILY,
        dit.FAMILY,
        dit.OFFICIAL_FAMILY,
        mmdit.FAMILY,
    )
}


def find_family(key: str, name: Any) -> Family:
    """The family of the name of a class, or of module:name. Raises ValueError naming the key and what is allowed."""
    path = plugins.path_of(key, "families", name, tuple(FAMILIES))
    if not plugins.is_path(path):
        return FAMILIES[path]
    family = plugins.load(key, path)
    if not isinstance(family, Family):
        raise ValueError(f"{key}={path} must be a Family of trainables.families but is {family!r}")
    known = FAMILIES.setdefault(family.model_class.__name__, family)
    if known.model_class is not family.model_class:
        raise ValueError(f"{key}={path}: there is another class of the name {family.model_class.__name__}")
    return family


def family_of(model: nn.Module) -> Family:
    """The family of a model or of what was made of it."""
    return next(FAMILIES[cls.__name__] for cls in type(model).__mro__ if cls.__name__ in FAMILIES)


def predict(
    model: nn.Module, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """What the model says of x_t (B, C, H, W) at times (B,): (B, C, H, W), or (B, 2C, H, W) with a learned variance."""
    return family_of(model).call(model, x_t, time, condition)


def split_variance(output: torch.Tensor, num_channels: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The prediction (B, C, H, W) and what says the variance, the same or None."""
    if output.shape[1] == num_channels:
        return output, None
    prediction, variance = torch.split(output, num_channels, dim=1)
    return prediction, variance

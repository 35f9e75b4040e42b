"""A U-Net with widths of its own, which the config of a UNet2DModel cannot say."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers import (
    ModelMixin,  # noqa: F401 (by which a pipeline sees in this module that the class below is a model)
    UNet2DModel,
)
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from trainables.families import unet

# What says how wide a layer is.
_SIZES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("out_channels", "in_channels"),
    nn.Linear: ("out_features", "in_features"),
    nn.GroupNorm: ("num_channels",),
}


class PrunedUNet2DModel(UNet2DModel):  # type: ignore[misc]
    """A UNet2DModel whose layers were narrowed. widths: sizes of those that differ from what the rest of the config
    says, by the layer's name. It saves, loads and serves in pipelines like any other model of diffusers.
    """

    def __init__(self, widths: Mapping[str, list[int]], **config: Any) -> None:
        super().__init__(**config)
        self.register_to_config(widths={name: list(sizes) for name, sizes in widths.items()})
        modules = dict(self.named_modules())
        for name, sizes in widths.items():
            _narrow(modules[name], sizes)
        set_channels(self)

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        """What diffusers hands over of a config file."""
        return set(UNet2DModel._get_init_keys(UNet2DModel)) | {"widths"}


FAMILY = replace(unet.FAMILY, model_class=PrunedUNet2DModel, narrow=None)


def unpruned_config(model: UNet2DModel) -> dict[str, Any]:
    """The config of the UNet2DModel that a model is, or was before it was narrowed."""
    return {name: value for name, value in model.config.items() if not name.startswith("_") and name != "widths"}


def widths_of(model: nn.Module, original: nn.Module) -> dict[str, list[int]]:
    """Sizes of the layers of a pruned model that differ from those of the original."""
    before = dict(original.named_modules())
    found = {name: (_sizes(module), _sizes(before[name])) for name, module in model.named_modules()}
    return {name: sizes for name, (sizes, old) in found.items() if sizes != old}


def set_channels(model: nn.Module) -> None:
    """Corrects what down- and upsampling blocks believe of their inputs."""
    for module in model.modules():
        if isinstance(module, Downsample2D | Upsample2D) and module.conv is not None:
            module.channels, module.out_channels = module.conv.in_channels, module.conv.out_channels


def _sizes(module: nn.Module) -> list[int]:
    names = next((names for kind, names in _SIZES.items() if isinstance(module, kind)), ())
    return [int(getattr(module, name)) for name in names]


def _narrow(module: nn.Module, sizes: list[int]) -> None:
    names = next(names for kind, names in _SIZES.items() if isinstance(module, kind))
    for name, size in zip(names, sizes, strict=True):
        setattr(module, name, size)
    for name, parameter in module.named_parameters(recurse=False):
        shape = list(parameter.shape)
        shape[0] = sizes[0]
        if name == "weight" and not isinstance(module, nn.GroupNorm):
            shape[1] = sizes[1]
        narrowed = torch.empty(shape, dtype=parameter.dtype, device=parameter.device)
        if not narrowed.is_meta:  # where it takes a quarter of a millisecond
            nn.init.normal_(narrowed, std=0.02)  # until weights are loaded
        setattr(module, name, nn.Parameter(narrowed))

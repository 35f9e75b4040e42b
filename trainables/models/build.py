"""Builds and loads diffusers models."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import nn

from trainables.checks import require_choice
from trainables.seeds import derived_seed
from trainables.specs import ModelSpec

_MODEL_CLASSES: dict[str, Any] = {"UNet2DModel": UNet2DModel}


def model_classes() -> tuple[str, ...]:
    return tuple(_MODEL_CLASSES)


def build_model(spec: ModelSpec, image_shape: tuple[int, int, int], *, seed: int, device: str = "cpu") -> nn.Module:
    """A fresh model whose initial weights follow from the seed alone; image_shape is (C, H, W).

    Raises ValueError naming the model when diffusers refuses the config. device="meta" builds shapes without weights.
    """
    require_choice(f"{spec.name}.model_class", spec.model_class, model_classes())
    channels, height, _ = image_shape
    config = {"sample_size": height, "in_channels": channels, "out_channels": channels, **spec.config}
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(derived_seed(seed, "initial weights"))  # diffusers draws from the default generator
        try:
            model: nn.Module = _MODEL_CLASSES[spec.model_class](**config)
        except (TypeError, ValueError) as error:
            raise ValueError(f"model {spec.name} cannot be built from its config: {error}") from error
    return model


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model from a diffusers directory with safetensors weights; nothing is unpickled or downloaded.

    Raises ValueError naming the folder when it does not hold such a model.
    """
    try:
        model_class = json.loads((folder / "config.json").read_text())["_class_name"]
        require_choice("_class_name", model_class, model_classes())
        model: nn.Module
        model, found = _MODEL_CLASSES[model_class].from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=dtype,
            output_loading_info=True,
        )
        if found["missing_keys"]:  # diffusers only warns and goes on
            raise ValueError(f"it lacks {', '.join(found['missing_keys'])}")
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder} does not hold a diffusers model with safetensors weights: {error}") from error
    return model

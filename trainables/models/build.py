"""Builds and loads diffusers models."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from storage import local_copy
from trainables.checks import require_choice
from trainables.data.dataset import DataShape
from trainables.families import FAMILIES, family_of, find_family
from trainables.pruning import prune_shape
from trainables.seeds import derived_seed
from trainables.specs import ModelSpec, StudentSpec, canonical_json

_PRUNED: dict[str, tuple[str, dict[str, Any]]] = {}  # class and config of what was found out in this process


def model_classes() -> tuple[str, ...]:
    return tuple(FAMILIES)


def known_class(config: Mapping[str, Any]) -> Any:
    """The class that a config.json says. The official DiT's on the hub are of a time when diffusers had one class for
    all transformers.
    """
    legacy = config["_class_name"] == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero"
    return "OfficialDiTTransformer2DModel" if legacy else config["_class_name"]


def build_model(spec: StudentSpec, shape: DataShape, *, seed: int, device: str = "cpu") -> nn.Module:
    """A fresh model for data of that shape, whose initial weights follow from the seed alone.

    Of a pruned one it has the architecture, not the weights. Raises ValueError naming the model when diffusers refuses
    the config. device="meta" builds shapes without weights.
    """
    spec = architecture(spec, shape)
    family = find_family(f"{spec.name}.model_class", spec.model_class)
    config = {**family.config(shape), **spec.config}
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(derived_seed(seed, "initial weights"))  # diffusers draws from the default generator
        try:
            model: nn.Module = family.model_class(**config)
        except (TypeError, ValueError) as error:
            raise ValueError(f"model {spec.name} cannot be built from its config: {error}") from error
    family.prepare(model, True)
    return model


def architecture(spec: StudentSpec, shape: DataShape) -> ModelSpec:
    """The model's class and config; of a pruned one those of what will be cut, which do not depend on weights.

    Raises ValueError for a teacher that cannot be cut so.
    """
    if isinstance(spec, ModelSpec):
        return spec
    teacher = architecture(spec.teacher.model, shape)
    key = canonical_json({"teacher": teacher.identity(), "pruning": dict(spec.pruning), "shape": repr(shape)})
    if key not in _PRUNED:
        whole = build_model(teacher, shape, seed=0, device="meta")
        model: Any = prune_shape(whole, spec.pruning, shape)
        config = {name: value for name, value in model.config.items() if not name.startswith("_")}
        _PRUNED[key] = family_of(model).model_class.__name__, config
    model_class, config = _PRUNED[key]
    return ModelSpec(name=spec.name, model_class=model_class, config=config)


def component_folder(folder: Path) -> Path:
    """The model's own folder in one that `save_model` wrote, in a pipeline's, or the folder itself."""
    inner = (folder / name for name in sorted({family.component for family in FAMILIES.values()}))
    return next((path for path in inner if (path / "config.json").is_file()), folder)


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32, variant: str | None = None) -> nn.Module:
    """A model from a diffusers directory with safetensors weights, its own or a pipeline's; nothing is unpickled or
    downloaded.

    Raises ValueError naming the folder when it does not hold such a model.
    """
    try:
        own = component_folder(folder)
        model_class = known_class(json.loads((own / "config.json").read_text()))
        require_choice("_class_name", model_class, model_classes())
        model: nn.Module
        with local_copy(own) as local:
            model, found = FAMILIES[model_class].model_class.from_pretrained(
                local,
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                torch_dtype=dtype,
                variant=variant,
                output_loading_info=True,
            )
        if found["missing_keys"]:  # diffusers only warns and goes on
            raise ValueError(f"it lacks {', '.join(found['missing_keys'])}")
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder} does not hold a diffusers model with safetensors weights: {error}") from error
    FAMILIES[model_class].prepare(model, False)
    return model

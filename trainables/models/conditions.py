"""Whether the data has what a model is conditioned on."""

from collections.abc import Mapping
from typing import Any

from trainables.data.dataset import CLASSES, POOLED, TEXT, DataShape
from trainables.families import find_family

_WORDS = {CLASSES: "classes", TEXT: "text", POOLED: "pooled text"}
_CLASS_KEYS = ("num_class_embeds", "class_embed_type")  # by which diffusers' U-Nets take classes


def require_conditions(what: str, model_class: str, config: Mapping[str, Any], shape: DataShape) -> None:
    """Raises ValueError naming `what` when the model asks for classes or text that the data, or its family, lacks."""
    there = {CLASSES: shape.num_classes, TEXT: shape.text, POOLED: shape.pooled}
    needed = find_family(what, model_class).needs
    for name in needed:
        if there[name] is None:
            raise ValueError(f"{what}: a {model_class} is conditioned on {_WORDS[name]}, but the data has none")
    for key in _CLASS_KEYS:
        if config.get(key) is not None and CLASSES not in needed:
            lack = "the data has none" if shape.num_classes is None else f"a {model_class} is given none here"
            raise ValueError(f"{what}: {key} {config[key]!r} conditions it on classes, but {lack}")

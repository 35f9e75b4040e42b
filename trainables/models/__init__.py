"""Teachers and students: build, load, count parameters and MACs.

What is named here is imported when it is asked for: files of this folder that need no torch can be used without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.models.build import build_model, load_model, model_classes
    from trainables.models.sizes import Size, count, count_model, example_inputs

__all__ = ["Size", "build_model", "count", "count_model", "example_inputs", "load_model", "model_classes"]

_OF_SIZES = ("Size", "count", "count_model", "example_inputs")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'sizes' if name in _OF_SIZES else 'build'}"), name)

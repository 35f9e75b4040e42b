"""Teachers and students: build, load, count parameters and MACs."""

from trainables.models.build import build_model, load_model, model_classes
from trainables.models.sizes import Size, count, count_model, example_inputs

__all__ = ["Size", "build_model", "count", "count_model", "example_inputs", "load_model", "model_classes"]

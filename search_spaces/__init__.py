"""Search spaces: YAML files, and the small module that makes Optuna distributions of them."""

from search_spaces.space import load_space, space_names, suggest

__all__ = ["load_space", "space_names", "suggest"]

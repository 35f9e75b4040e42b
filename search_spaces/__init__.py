"""Search spaces: YAML files, and the small module that makes Optuna suggestions of them (README.md describes both)."""

from search_spaces.space import Parameter, Space, contains, describe, load_space, merge, num_settings, suggest

__all__ = ["Parameter", "Space", "contains", "describe", "load_space", "merge", "num_settings", "suggest"]

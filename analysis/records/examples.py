"""Studies that are shipped as records (analysis/example/<name>/): rows and declarations, no students."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).parent.parent / "example"


def example_study(name: str) -> Path:
    """The study directory of the shipped study `name`. Raises ValueError where there is none."""
    studies = {path.name: path for path in sorted(_ROOT.iterdir()) if path.is_dir()}
    if name not in studies:
        raise ValueError(f"example must be one of {', '.join(studies)} but got {name!r}")
    return studies[name]

"""The version that a record names: the package's, and the commit where it runs from a checkout."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def code_version() -> str:
    """E.g. `0.1.0+3f2c1ab`, with `-dirty` when the checkout has changes; `0.1.0` outside a checkout."""
    root = Path(__file__).parents[2]
    package = version("kd-stability-study")
    if not (root / ".git").exists():
        return package
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{package}+{described.stdout.strip()}" if described.returncode == 0 else package

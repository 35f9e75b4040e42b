"""torchvision can be imported beside any torch once trainables is."""

import subprocess
import sys
from pathlib import Path

import trainables

ROOT = Path(trainables.__file__).parents[1]


def said(statement: str) -> str:
    command = [sys.executable, "-c", statement]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout.strip()


def test_a_script_of_ones_own_imports_diffusers_after_trainables() -> None:
    script = "import trainables; from diffusers import UNet2DModel; import torchvision.transforms; print('done')"
    assert said(script) == "done"

"""The sweep on a tiny study: two teachers, three methods, two seeds, a dozen steps."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from study.directory.claim import MARKER

TINY = (
    "train.steps=12",
    "teacher_train.steps=12",
    "evaluation.num_images=64",
    "evaluation.sampler_steps=5",
    "seeds=[0,1]",
    "teachers=[unet_16,unet_32]",
    "methods=[diffusion_only,out_kd,lift_place_feat]",
)
Sweep = Callable[..., subprocess.CompletedProcess[str]]


def sweep_command(study_dir: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "study.sweep", f"study_dir={study_dir}", *TINY, *overrides]


def copy_teachers(study_dir: Path, new: Path) -> None:
    """A study directory that has the teachers of another one, and nothing else."""
    shutil.copytree(study_dir / "teachers", new / "teachers")
    shutil.copy(study_dir / MARKER, new)

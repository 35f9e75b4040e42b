"""Students that are cut from a teacher: Diff-Pruning, BK-SDM's block removal, TinyFusion's depth pruning.

Each way is a file with a frozen dataclass of its settings that makes the student, `settings(teacher, data, process)`,
and says how large it will be, `settings.without_weights(teacher, shape)`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from trainables.checks import make, require_choice
from trainables.data import Dataset, DataShape
from trainables.families import FAMILIES
from trainables.process import Process
from trainables.pruning.block_removal import BlockRemoval
from trainables.pruning.depth_pruning import DepthPruning
from trainables.pruning.diff_pruning import DiffPruning

WAYS: dict[str, Any] = {
    "diff_pruning": DiffPruning,
    "block_removal": BlockRemoval,
    "depth_pruning": DepthPruning,
}


def prune(teacher: nn.Module, settings: Mapping[str, Any], *, data: Dataset, process: Process) -> nn.Module:
    """The student that the settings cut from the teacher, which is left as it is; the same one every time.

    Raises ValueError for settings that the teacher does not allow.
    """
    with torch.random.fork_rng(devices=[]):  # building a model draws weights
        torch.manual_seed(0)
        student: nn.Module = _way(settings, "student.pruning")(teacher, data, process)
    return student.eval().requires_grad_(True)


def prune_shape(teacher: nn.Module, settings: Mapping[str, Any], shape: DataShape) -> nn.Module:
    """A model of the architecture that `prune` gives, on the meta device; the teacher may be there too.

    Raises ValueError for settings that the teacher does not allow.
    """
    student: nn.Module = _way(settings, "student.pruning").without_weights(teacher, shape)
    return student


def full_settings(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The settings with those that are not given. Raises ValueError naming the key, the value and what is allowed."""
    return {"how": settings.get("how"), **asdict(_way(settings, key))}


def check_teacher_of(settings: Mapping[str, Any], model_class: str, key: str) -> None:
    """Raises ValueError naming the key for a teacher of a class that the settings' way does not cut."""
    allowed = [name for name, family in FAMILIES.items() if settings["how"] in family.cut_by]
    if model_class not in allowed:
        raise ValueError(f"{key} must be a {' or '.join(allowed)} for {settings['how']} but is a {model_class}")


def _way(settings: Mapping[str, Any], key: str) -> Any:
    how = str(settings.get("how"))
    require_choice(f"{key}.how", how, tuple(WAYS))
    own = {name: value for name, value in settings.items() if name != "how"}
    try:
        return make(WAYS[how], key, own)
    except ValueError as error:
        raise ValueError(str(error).replace("student.pruning", key)) from error

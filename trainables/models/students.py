"""What students start from: weights that follow from a seed, or a model that is cut from a teacher once."""

import time
from pathlib import Path

import torch
from torch import nn

from storage import cached, check_files
from trainables.data import DataShape, load_data
from trainables.models import build_model, count_model, load_model
from trainables.models.digest import weights_digest
from trainables.models.facts import INITIAL, is_made, read_facts
from trainables.models.own_code import require_model_code
from trainables.models.saved import save_model
from trainables.pruning import prune
from trainables.specs import ModelSpec, PrunedSpec, StudentSpec


def initial_student(spec: StudentSpec, shape: DataShape, folder: Path, *, seed: int) -> nn.Module:
    """A student before its training; a pruned one is the same whatever the seed, and must be in the folder."""
    if isinstance(spec, ModelSpec):
        return build_model(spec, shape, seed=seed)
    return load_model(cached(folder / spec.initial_id))


def make_initial(spec: PrunedSpec, teachers: Path, folder: Path, *, device: str = "cpu", devices: float = 1.0) -> None:
    """Cuts the student from its teacher, which must be there, and keeps it in the folder unless it is there already.

    devices: the part of a GPU that this worker has, by which its file counts the seconds.
    """
    if is_made(spec, folder):
        return
    started = time.perf_counter()
    require_model_code(spec)
    data = load_data(spec.teacher.data)
    teacher = load_model(cached(teachers / spec.teacher.teacher_id)).to(torch.device(device))
    student = prune(teacher, spec.pruning, data=data, process=spec.teacher.process).to("cpu")
    size = count_model(student, data.shape)
    facts = {"name": spec.name, "params": size.params, "macs": size.macs, "digest": weights_digest(student)}
    facts["device_seconds"] = devices * (time.perf_counter() - started)
    save_model(student, folder / spec.initial_id, INITIAL, facts, spec.teacher.process)


def check_initial(folder: Path) -> None:
    """Raises ValueError when a pruned student that is there is not the one that was saved."""
    check_files(folder, read_facts(folder, INITIAL)["files"])

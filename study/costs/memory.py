"""The memory of a worker: what a pack needs, and how many members fit."""

from collections.abc import Sequence

import torch

from study.config.study import StudyConfig
from study.costs.model import Counts
from study.planning.members import Pack
from trainables.data import DataShape
from trainables.families import predict
from trainables.models import build_model, example_inputs
from trainables.specs import StudentSpec

_STATES = 5  # a member's weights, gradients, two moments of Adam and the EMA


def most_members(config: StudyConfig, counts: Counts, memory_bytes: float) -> int:
    """How many members fit a worker's memory: half of it for what each member keeps, the rest for all they share.

    A member keeps its weights, gradients, two moments of Adam and the EMA; activations are one member's at a time.
    """
    kept = _STATES * counts.student.params * _itemsize(config)
    return max(1, int(memory_bytes / 2 / kept))


def memory_bytes(config: StudyConfig, counts: Counts, packs: Sequence[Pack]) -> int:
    """Of the largest pack: its teacher, what its members keep, and what one member's backward pass needs."""
    batch_size = config.train.batch_size // config.cluster.num_workers
    teachers = max((counts.teachers[pack.teacher.teacher_id].params for pack in packs if pack.teacher), default=0)
    kept = _STATES * counts.student.params * max(len(pack.members) for pack in packs)
    return int(_itemsize(config) * (teachers + kept) + _saved_bytes(config.student, counts.shape, batch_size))


def _itemsize(config: StudyConfig) -> int:
    size: int = getattr(torch, config.train.precision).itemsize
    return size


def _saved_bytes(spec: StudentSpec, shape: DataShape, batch_size: int) -> int:
    """What a forward pass keeps for the backward pass, on the meta device."""
    model = build_model(spec, shape, seed=0, device="meta")
    parameters = {id(parameter) for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in parameters:
            storage = tensor.untyped_storage()
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = predict(model, *example_inputs(shape, batch_size, torch.device("meta"), torch.float32))
        del output
    return sum(saved.values())

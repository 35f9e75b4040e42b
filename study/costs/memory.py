"""The memory of a worker: what a pack needs, and how many members fit."""

from collections.abc import Sequence

import torch

from study.config.study import StudyConfig
from study.costs.model import Counts
from study.planning.members import Pack, plan_teachers
from trainables.data import DataShape
from trainables.families import predict
from trainables.models import build_model, example_inputs
from trainables.specs import StudentSpec
from trainables.training.memory import USABLE, MemoryNeed
from trainables.training.recorded_features import feature_names, feature_shapes, record_features

_STATES = 5  # a member's weights, gradients, two moments of Adam and the EMA


def memory_need(config: StudyConfig, counts: Counts) -> MemoryNeed:
    """Counted from shapes, of the largest teacher."""
    teacher = _itemsize(config) * max((size.params for size in counts.teachers.values()), default=0)
    features = max((_feature_bytes(config, spec.model, counts.shape) for spec in plan_teachers(config)), default=0)
    member = _STATES * counts.student.params * _itemsize(config)
    return MemoryNeed(teacher + features, member, _saved_bytes(config, counts.shape))


def most_members(config: StudyConfig, counts: Counts, memory_bytes: float) -> int:
    """How many members fit a worker's memory by their shapes, at least one. A worker that has a GPU measures it, and
    trains the pack in parts where this was too many (trainables/training/out_of_memory.py).
    """
    need, parts = memory_need(config, counts), config.execution.gradient_accumulation
    return max(1, need.most_members(USABLE * memory_bytes, parts))


def memory_bytes(config: StudyConfig, counts: Counts, packs: Sequence[Pack]) -> int:
    """Of the largest pack."""
    need = memory_need(config, counts)
    return need.total(max(len(pack.members) for pack in packs), config.execution.gradient_accumulation)


def _itemsize(config: StudyConfig) -> int:
    size: int = getattr(torch, config.train.precision).itemsize
    return size


def _feature_bytes(config: StudyConfig, spec: StudentSpec, shape: DataShape) -> int:
    """What a pass of the teacher over a rank's share of a batch leaves for the feature losses."""
    wanted = {method.feature for method in config.methods} - {"none"}
    if not wanted:
        return 0
    model = build_model(spec, shape, seed=0, device="meta")
    features = record_features(model, sorted({name for one in wanted for name in feature_names(model, one)}))
    elements = sum(found.numel() for found in feature_shapes(model, shape, features).values())
    return elements * _itemsize(config) * (config.train.batch_size // config.cluster.num_workers)


def _saved_bytes(config: StudyConfig, shape: DataShape) -> int:
    """What a forward pass of the student over a rank's share of a batch keeps for the backward pass, on meta.

    Activations that are checkpointed count as if they were not.
    """
    batch_size = config.train.batch_size // config.cluster.num_workers
    model = build_model(config.student, shape, seed=0, device="meta")
    parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}  # saved as views, too
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = predict(model, *example_inputs(shape, batch_size, torch.device("meta"), torch.float32))
        del output
    return sum(saved.values())

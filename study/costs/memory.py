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
from trainables.training.recorded_features import feature_names, feature_shapes, record_features

_STATES = 5  # a member's weights, gradients, two moments of Adam and the EMA
_USABLE = 0.9  # of the memory: the rest is lost between blocks of the allocator


def most_members(config: StudyConfig, counts: Counts, memory_bytes: float) -> int:
    """How many members fit a worker's memory beside what they share: the largest teacher with its features, and the
    activations of one member, for those are one member's at a time. Counted from shapes; what is wrong with that is
    mended by out_of_memory.py.
    """
    kept = _STATES * counts.student.params * _itemsize(config)
    shared = _itemsize(config) * max((size.params for size in counts.teachers.values()), default=0)
    shared += max((_feature_bytes(config, spec.model, counts.shape) for spec in plan_teachers(config)), default=0)
    shared += _saved_bytes(config, counts.shape)
    return max(1, int((_USABLE * memory_bytes - shared) / kept))


def memory_bytes(config: StudyConfig, counts: Counts, packs: Sequence[Pack]) -> int:
    """Of the largest pack: its teacher, what its members keep, and what one member's backward pass needs."""
    teachers = max((counts.teachers[pack.teacher.teacher_id].params for pack in packs if pack.teacher), default=0)
    kept = _STATES * counts.student.params * max(len(pack.members) for pack in packs)
    return int(_itemsize(config) * (teachers + kept) + _saved_bytes(config, counts.shape))


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
    """What a forward pass of the student keeps for the backward pass, on the meta device; of one part of a rank's share
    of a batch. Activations that are checkpointed count as if they were not.
    """
    parts = config.cluster.num_workers * config.execution.gradient_accumulation
    batch_size = config.train.batch_size // parts
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

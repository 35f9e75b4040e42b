"""The memory of a worker: what a pack and a teacher need, and how many members fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from study.config.study import StudyConfig
from study.costs.activations import saved_bytes
from study.costs.model import Counts
from study.planning.members import Pack, plan_teachers
from trainables.data import DataShape
from trainables.models import build_model
from trainables.specs import StudentSpec, TeacherSpec
from trainables.training.memory import USABLE, MemoryNeed
from trainables.training.recorded_features import feature_names, feature_shapes, record_features

_STATES = 5  # a member's weights, gradients, two moments of Adam and the EMA


@dataclass(frozen=True)
class MemoryNeeds:
    """Of the packs, and of those teachers that the study trains."""

    pack: MemoryNeed
    teachers: Mapping[str, MemoryNeed]  # by teacher_id

    @classmethod
    def of(cls, config: StudyConfig, counts: Counts, missing: Sequence[TeacherSpec]) -> MemoryNeeds:
        """missing: the teachers that are to be made."""
        trained = [spec for spec in missing if spec.pretrained is None]
        own = {spec.teacher_id: teacher_need(config, counts, spec) for spec in trained}
        return cls(memory_need(config, counts), own)


def memory_need(config: StudyConfig, counts: Counts) -> MemoryNeed:
    """Counted from shapes, of the largest teacher."""
    teacher = _itemsize(config) * max((size.params for size in counts.teachers.values()), default=0)
    features = max((_feature_bytes(config, spec.model, counts.shape) for spec in plan_teachers(config)), default=0)
    member = _STATES * counts.student.params * _itemsize(config)
    share = config.train.batch_size // config.cluster.num_workers
    return MemoryNeed(teacher + features, member, saved_bytes(config.student, counts.shape, share))


def teacher_need(config: StudyConfig, counts: Counts, spec: TeacherSpec) -> MemoryNeed:
    """Of the training of a teacher, its one member, in each of its workers."""
    size = getattr(torch, spec.train.precision).itemsize
    larger = size * counts.teachers[spec.larger.teacher_id].params if spec.larger else 0
    share = spec.train.batch_size // config.cluster.teacher_num_workers
    member = _STATES * counts.teachers[spec.teacher_id].params * size
    return MemoryNeed(larger, member, saved_bytes(spec.model, counts.shape, share))


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

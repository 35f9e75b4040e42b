"""How much disk the rest of a study takes, and whether it is there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from storage import free_bytes
from study.config.study import StudyConfig
from study.costs.model import Counts
from study.planning.members import Pack
from trainables.data import cache_bytes
from trainables.specs import TeacherSpec

_BLOCK = 4096  # bytes: no file takes less


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that the rest of a study will write, roughly; each file takes a block of 4 KiB at least."""

    teachers: int
    students: int
    samples: int
    records: int
    checkpoints: int  # while packs run
    cache: int = 0  # of prepared images, in data.cache of every machine; it has been made here before this is known

    @property
    def total(self) -> int:
        """Of the file system of the study."""
        return sum(self._of_study().values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {describe_bytes(value)}" for name, value in self._of_study().items() if value)
        cache = f", and {describe_bytes(self.cache)} in data.cache on every machine" if self.cache else ""
        return f"about {describe_bytes(self.total)} of disk ({parts or 'nothing'}){cache}"

    def _of_study(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if name != "cache"}


def estimate_disk(
    config: StudyConfig, missing: Sequence[TeacherSpec], packs: Sequence[Pack], num_slots: int, counts: Counts
) -> DiskNeed:
    """What missing teachers and packs write. A member's state is its weights, two moments of Adam and the EMA."""
    num_members, size = sum(len(pack.members) for pack in packs), getattr(torch, config.train.precision).itemsize
    student = counts.student.params * size
    teachers = [counts.teachers[spec.teacher_id].params * size for spec in missing]
    at_once = sum(sorted((len(pack.members) for pack in packs), reverse=True)[:num_slots])
    states = 4 * max(student * at_once, sum(sorted(teachers, reverse=True)[:num_slots]))
    pixels = math.prod(counts.shape.image)
    return DiskNeed(
        teachers=sum(teachers) + 3 * _BLOCK * len(teachers),
        students=num_members * (student + 6 * _BLOCK),
        samples=num_members * (2 * _BLOCK + 64 * pixels + 10 * 8 * pixels),
        records=num_members * 12 * _BLOCK,
        checkpoints=3 * states
        if config.checkpoint_every_minutes is not None
        else 0,  # two are kept while one is written
        cache=cache_bytes(config.data),
    )


def require_disk(study_dir: Path, need: DiskNeed) -> None:
    """Raises ValueError when the file system of the study has less room than it needs."""
    free = free_bytes(study_dir)
    if need.total > free:
        raise ValueError(f"study_dir={study_dir} needs {need}, but its file system has {describe_bytes(free)} left")


def describe_bytes(num: float) -> str:
    return f"{num / 1e9:.1f} GB" if num >= 1e9 else f"{max(1, round(num / 1e6))} MB"

"""The cost model: multiply-accumulates (MACs), counted from shapes, over the throughput of a worker.

It says how long packs and teachers take: for the schedule, the estimate of a sweep, dry_run and study.status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from study.config.study import ClusterConfig, StudyConfig
from study.costs.throughput import Throughput, Work, find_throughput
from study.directory.layout import folders
from study.planning.members import Pack, plan_teachers
from trainables.data import DataShape, data_shape
from trainables.evaluation.micro_batches import micro_batch_size
from trainables.models.facts import student_size
from trainables.models.sizes import Size, count
from trainables.specs import TeacherSpec

GROUP_START_SECONDS = 20.0  # processes of a worker group: start, imports, shutdown (two at once on two cores)
BACKWARD = 3  # a forward and a backward pass against a forward pass alone


@dataclass(frozen=True)
class Counts:
    """The sizes of a study's models, each counted once."""

    shape: DataShape
    student: Size
    teachers: Mapping[str, Size]  # by teacher_id

    @classmethod
    def of(cls, config: StudyConfig) -> Counts:
        shape = data_shape(config.data)
        teachers = {spec.teacher_id: count(spec.model, shape) for spec in plan_teachers(config)}
        return cls(shape, student_size(config.student, shape, folders(config.study_dir).initial), teachers)


@dataclass(frozen=True)
class Costs:
    """Work and seconds of packs and teachers, of each of the workers of a group."""

    config: StudyConfig
    counts: Counts
    throughput: Throughput

    def seconds(self, pack: Pack) -> float:
        """Wall seconds of a pack in its worker group: training and evaluation."""
        return self.throughput.seconds(self.work(pack.teacher, len(pack.members), pack.members[0].train.steps))

    def teacher_seconds(self, spec: TeacherSpec) -> float:
        """Wall seconds of making a teacher in its worker group: its training, unless it is fetched, and its evaluation,
        which one worker does; each of its workers as fast as one of a pack.
        """
        macs = self.counts.teachers[spec.teacher_id].macs
        share = spec.train.batch_size / self.config.cluster.teacher_num_workers
        step = BACKWARD * _forward(macs, share)
        if spec.larger is not None:
            step += _forward(self.counts.teachers[spec.larger.teacher_id].macs, share)
        return self.throughput.seconds(spec.num_steps * step + self._sampling(macs))

    def total_seconds(self, packs: Iterable[Pack], missing: Sequence[TeacherSpec], num_slots: int) -> float:
        """Wall seconds of the missing teachers and the packs on num_slots worker groups."""
        start = GROUP_START_SECONDS * (1 + bool(missing))
        return start + (sum(map(self.teacher_seconds, missing)) + sum(map(self.seconds, packs))) / num_slots

    def device_seconds(self, packs: Iterable[Pack], missing: Iterable[TeacherSpec]) -> float:
        """Of all workers; a worker that has a part of a GPU counts as that part."""
        groups = [(self.config.cluster, sum(map(self.seconds, packs)))]
        groups.append((self.config.cluster.of_teachers, sum(map(self.teacher_seconds, missing))))
        return sum(cluster.num_workers * devices_per_worker(cluster) * seconds for cluster, seconds in groups)

    def work(self, teacher: TeacherSpec | None, num_members: int, num_steps: int, *, evaluate: bool = True) -> Work:
        """Of one worker: its part of every batch, and its part of the members' evaluations.

        A step is a forward pass of the teacher and three of every member; an evaluation is sampling.
        """
        num_workers = self.config.cluster.num_workers
        batch_size = self.config.train.batch_size / num_workers
        step = BACKWARD * num_members * _forward(self.counts.student.macs, batch_size)
        if teacher is not None:
            step += _forward(self.counts.teachers[teacher.teacher_id].macs, batch_size)
        sampled = num_members / num_workers if evaluate else 0.0
        return num_steps * step + sampled * self._sampling(self.counts.student.macs)

    def _sampling(self, macs: int) -> Work:
        """Images x sampler steps, twice where the sampler is guided: with the condition and without."""
        spec, shape = self.config.evaluation, self.counts.shape
        is_conditional = shape.num_classes is not None or shape.text is not None
        passes = spec.sampler_steps * (2 if is_conditional and spec.guidance != 1.0 else 1)
        micro_batches = len(spec.noise_seeds) * -(-spec.num_images // micro_batch_size(shape.image))
        return Work(passes * spec.num_sampled * macs, passes * micro_batches)


def find_costs(config: StudyConfig) -> Costs:
    """The costs of a study at the throughput of its own records, or at the assumed one."""
    return Costs(config, Counts.of(config), find_throughput(config.study_dir, config.cluster))


def devices_per_worker(cluster: ClusterConfig) -> float:
    """The part of a GPU that a worker has, or GPUs; 1 where it has none."""
    return cluster.gpus_per_worker or 1.0


def describe_seconds(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"


def _forward(macs: int, batch_size: float) -> Work:
    return Work(macs * batch_size, 1)

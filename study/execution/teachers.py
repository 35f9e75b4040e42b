"""Teachers, and a student that is cut from one, made by Ray tasks; packs run beside them.

A task is one worker; that of a teacher of several ranks only waits, for a worker group like a pack's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from threading import RLock

import ray

from study.config.study import ClusterConfig, StudyConfig
from study.costs.model import devices_per_worker
from study.directory.layout import checkpoints_dir, folders, ray_storage
from study.execution.cluster import worker_group
from study.execution.failure import TeacherLostError
from study.execution.launch import WorkerGroup
from study.execution.losses import GroupLostError, Losses, LostError, Work, lost
from study.execution.placement_groups import freed_placement_groups
from study.execution.trial import run_group_once
from study.planning.members import Pack, plan_teachers, with_ancestors
from study.watching.events import EventLog, log_dir
from study.watching.progress import ProgressFiles
from study.watching.progress_bar import bar, describe_teachers
from study.watching.study_count import StudyCount
from trainables.data import data_shape
from trainables.folders import Folders
from trainables.models import count
from trainables.models.facts import find_teacher, is_made
from trainables.models.students import make_initial
from trainables.ray_train import TeacherJob, teacher_alone
from trainables.specs import PrunedSpec, StudentSpec, TeacherSpec

_STUDENT = "initial student"
_lock = RLock()  # the progress bar asks from a thread of its own; not a task's, for Tune pickles who asks


# Of a task whose process, and not its code, failed.
_LOST = (
    *(ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError),
    *(ray.exceptions.LocalRayletDiedError, ray.exceptions.ObjectLostError, GroupLostError),
)


@dataclass
class _Task:
    """A task that is started, and started again where its process was lost, when those that it waits for are done."""

    start: Callable[[str], ray.ObjectRef]  # given Ray's scheduling strategy
    after: Collection[str]
    losses: Losses
    running: ray.ObjectRef | None = None


class TeacherTasks:
    """The tasks of a study that make what its packs start from.

    `specs` are the missing teachers as they begin: those named first, then the widest, which takes longest; one that is
    made from another waits for it. A pruned student is cut as soon as the teacher that it is cut from exists, before
    the others that wait for that: all packs wait for the student.
    A lost process is replaced, without limit where it gets on (study/execution/losses.py).
    """

    def __init__(self, config: StudyConfig, missing: Sequence[TeacherSpec], *, with_student: bool = True) -> None:
        self.specs = _order(config, missing)
        self._log = EventLog(log_dir(config.study_dir.absolute()), "sweep")
        self._left: dict[str, _Task] = {}
        self._error: Exception | None = None
        self._study_dir, self._in_groups = config.study_dir, config.cluster.teacher_num_workers > 1
        self._places = _places(config.cluster)
        student = config.student if with_student else None
        cut = isinstance(student, PrunedSpec) and not is_made(student, folders(config.study_dir).initial)
        self._student = student if isinstance(student, PrunedSpec) and cut else None
        self._add_student(config, None)
        for spec in self.specs:
            others = [one.teacher_id for one in spec.made_from]
            self._add(config, spec.teacher_id, others, partial(_start, spec, config))
            self._add_student(config, spec)
        self._collect()

    @property
    def num_running(self) -> int:
        """How many worker groups' places are held or waited for; who waits for another teacher leaves them to packs."""
        self._collect()
        running = [name for name, task in self._left.items() if task.running is not None]
        return sum(1 if name == _STUDENT else self._places for name in running)

    @property
    def cuts_student(self) -> bool:
        """Whether the pruned student is being cut, for which all packs wait."""
        self._collect()
        return _STUDENT in self._left and self._left[_STUDENT].running is not None

    @property
    def failed(self) -> bool:
        self._collect()
        return self._error is not None

    def ready(self, pack: Pack) -> bool:
        """Whether what the pack starts from exists."""
        self._collect()
        return _STUDENT not in self._left and (pack.teacher is None or pack.teacher.teacher_id not in self._left)

    def is_made(self, spec: TeacherSpec) -> bool:
        self._collect()
        return spec.teacher_id not in self._left

    def wait(self) -> None:
        """Until all are made. Raises what made one of them fail; TeacherLostError where its process died too often."""
        with freed_placement_groups(self._study_dir) if self._in_groups else nullcontext():
            while not self.failed and self._left:
                ray.wait([task.running for task in self._left.values() if task.running is not None], timeout=1.0)
        if self._error is not None:
            raise self._error

    def _add_student(self, config: StudyConfig, made: TeacherSpec | None) -> None:
        """Next in the order, where this is the missing teacher that it is cut from, or (None) where that exists."""
        if self._student is None:
            return
        missing = {spec.teacher_id: spec for spec in self.specs}
        if missing.get(self._student.teacher.teacher_id) == made:
            name = self._student.teacher.teacher_id
            self._add(config, _STUDENT, [name], partial(_start_student, self._student, config))

    def _add(
        self, config: StudyConfig, name: str, others: Sequence[str], start: Callable[[str], ray.ObjectRef]
    ) -> None:
        after = [other for other in others if other in self._left]
        self._left[name] = _Task(start, after, Losses(config.study_dir.absolute(), [Work(name)]))

    def _collect(self) -> None:
        """Takes out what is done, and starts what can be; all that is left stays as it is after an error."""
        with _lock:
            for name, task in list(self._left.items()):
                if self._error is None and task.running is not None and ray.wait([task.running], timeout=0)[0]:
                    self._end(name, task)
                if self._error is None and task.running is None and not any(one in self._left for one in task.after):
                    task.running = task.start("SPREAD" if task.losses.number > 1 else "DEFAULT")

    def _end(self, name: str, task: _Task) -> None:
        try:
            ray.get(task.running)
        except _LOST as error:
            try:
                lost("teacher_lost", task.losses, [error], self._log, teacher=self._name(name))
                task.running = None
            except LostError as last:
                self._error = self._described(name, last)
        except Exception as error:  # raised again by wait()
            self._error = error
        else:
            del self._left[name]

    def _name(self, name: str) -> str:
        return next((spec.name for spec in self.specs if spec.teacher_id == name), name)

    def _described(self, name: str, last: LostError) -> Exception:
        spec = next((spec for spec in self.specs if spec.teacher_id == name), None)
        return RuntimeError(f"the {name}: {last}") if spec is None else TeacherLostError(spec, last.cause)


def make_teachers(config: StudyConfig, missing: Sequence[TeacherSpec]) -> None:
    """Trains and evaluates the missing teachers, side by side, under a progress bar; for study.teachers."""
    tasks = TeacherTasks(config, missing, with_student=False)
    total = sum(spec.num_steps for spec in tasks.specs)

    with bar(StudyCount(config.study_dir), partial(describe_teachers, tasks), total=total):
        tasks.wait()


def missing_teachers(config: StudyConfig) -> list[TeacherSpec]:
    found = folders(config.study_dir)
    return [teacher for teacher in plan_teachers(config) if find_teacher(teacher, config.evaluation, found) is None]


def _order(config: StudyConfig, missing: Sequence[TeacherSpec]) -> list[TeacherSpec]:
    shape = data_shape(config.data)
    first = {name: index - len(config.teachers_first) for index, name in enumerate(config.teachers_first)}

    def key(spec: TeacherSpec) -> tuple[int, int, int]:
        return len(with_ancestors(spec)), first.get(spec.name, 0), -count(spec.model, shape).macs

    return sorted(missing, key=key)


def _remote(group: WorkerGroup, function: Callable[..., None], where: str) -> ray.remote_function.RemoteFunction:
    """The function as a task with the resources of one worker. Ray itself tries no task again: losses are counted."""
    resources = dict(group.resources)
    return ray.remote(
        num_cpus=resources.get("CPU", 0),
        num_gpus=resources.get("GPU", 0),
        memory=resources.get("memory", 0),
        max_retries=0,
        scheduling_strategy=where,
    )(function)


def _places(cluster: ClusterConfig) -> int:
    """How many worker groups of packs the group of a teacher is as large as."""
    pack, teacher = worker_group(cluster), worker_group(cluster.of_teachers)
    shares = [
        teacher.num_workers * amount / (pack.num_workers * pack.resources[kind])
        for kind, amount in teacher.resources.items()
        if kind in pack.resources
    ]
    return max(1, math.ceil(max(shares, default=1.0)))


def _start(spec: TeacherSpec, config: StudyConfig, where: str) -> ray.ObjectRef:
    cluster, root = config.cluster.of_teachers, checkpoints_dir(config.study_dir)
    group = worker_group(cluster)
    job = TeacherJob(
        spec,
        config.evaluation,
        folders(config.study_dir),
        report=partial(ProgressFiles(root), spec.teacher_id),
        progress_seconds=ProgressFiles(root).interval_seconds,
        threads=group.threads,
        checkpoints=root / spec.teacher_id,
        checkpoint_seconds=config.checkpoint_seconds,
        execution=config.execution,
        devices=devices_per_worker(cluster),
    )
    if group.num_workers == 1:
        return _remote(group, teacher_alone, where).remote(job, group.device)
    group = replace(group, placement_strategy="PACK")  # on one node where it fits one
    waiting = ray.remote(num_cpus=0, max_retries=0)(run_group_once)
    # In a list, or Ray would hand its content to a process that has no use for it.
    return waiting.remote("teacher_worker", [ray.put(job)], group, ray_storage(config.study_dir), spec.teacher_id)


def _start_student(student: PrunedSpec, config: StudyConfig, where: str) -> ray.ObjectRef:
    group, found = worker_group(config.cluster), folders(config.study_dir)
    devices = devices_per_worker(config.cluster)
    return _remote(group, _make_student, where).remote(student, found, group.device, devices)


def _make_student(student: StudentSpec, found: Folders, device: str, devices: float) -> None:
    assert isinstance(student, PrunedSpec)
    make_initial(student, found.teachers, found.initial, device=device, devices=devices)

"""Teachers, and a student that is cut from one, made by Ray tasks of one worker each; packs run beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from threading import RLock

import ray

from study.config.study import StudyConfig
from study.costs.model import devices_per_worker
from study.directory.layout import checkpoints_dir, folders
from study.execution.cluster import worker_group
from study.execution.failure import TeacherLostError
from study.execution.launch import WorkerGroup
from study.execution.losses import Losses, LostError, Work, lost
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
from trainables.protocol import EvaluationSpec
from trainables.specs import PrunedSpec, StudentSpec, TeacherSpec
from trainables.training.checkpoints import Checkpoints
from trainables.training.execution import Execution
from trainables.training.failures import crashes_told
from trainables.training.pack import Progress
from trainables.training.teachers import make_teacher

_STUDENT = "initial student"
_lock = RLock()  # the progress bar asks from a thread of its own; not a task's, for Tune pickles who asks


# Of a task whose process, and not its code, failed.
_LOST = (
    *(ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError),
    *(ray.exceptions.LocalRayletDiedError, ray.exceptions.ObjectLostError),
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
        """How many hold a worker or wait for one; those that wait for another teacher leave its place to packs."""
        self._collect()
        return sum(task.running is not None for task in self._left.values())

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


def _start(spec: TeacherSpec, config: StudyConfig, where: str) -> ray.ObjectRef:
    group, root = worker_group(config.cluster), checkpoints_dir(config.study_dir)
    return _remote(group, _make, where).remote(
        spec,
        config.evaluation,
        folders(config.study_dir),
        group=group,
        checkpoints=Checkpoints(root / spec.teacher_id, config.checkpoint_seconds),
        execution=config.execution,
        devices=devices_per_worker(config),
        report=partial(ProgressFiles(root), spec.teacher_id),
        interval=ProgressFiles(root).interval_seconds,
    )


def _make(
    spec: TeacherSpec,
    evaluation: EvaluationSpec,
    where: Folders,
    *,
    group: WorkerGroup,
    checkpoints: Checkpoints,
    execution: Execution,
    devices: float,
    report: Callable[[int], None],
    interval: float,
) -> None:
    import torch

    torch.set_num_threads(group.threads)
    progress = Progress(report, interval)
    with crashes_told(checkpoints.folder, 0):
        make_teacher(
            spec,
            evaluation,
            where,
            device=group.device,
            progress=progress,
            checkpoints=checkpoints,
            execution=execution,
            devices=devices,
        )


def _start_student(student: PrunedSpec, config: StudyConfig, where: str) -> ray.ObjectRef:
    group, found = worker_group(config.cluster), folders(config.study_dir)
    return _remote(group, _make_student, where).remote(student, found, group.device, devices_per_worker(config))


def _make_student(student: StudentSpec, found: Folders, device: str, devices: float) -> None:
    assert isinstance(student, PrunedSpec)
    make_initial(student, found.teachers, found.initial, device=device, devices=devices)

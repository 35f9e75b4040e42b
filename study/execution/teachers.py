"""Teachers, and a student that is cut from one, made by Ray tasks of one worker each; packs run beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import ray

from study.config.study import StudyConfig
from study.costs.model import devices_per_worker
from study.directory.layout import checkpoints_dir, folders
from study.execution.cluster import worker_group
from study.execution.launch import NO_LIMIT, WorkerGroup
from study.planning.members import Pack, plan_teachers, with_ancestors
from study.watching.progress import ProgressFiles
from study.watching.progress_bar import bar, describe_teachers
from study.watching.study_count import StudyCount
from trainables.data import data_shape
from trainables.folders import Folders
from trainables.models import count
from trainables.models.students import is_made, make_initial
from trainables.models.teachers import find_teacher
from trainables.protocol import EvaluationSpec
from trainables.specs import PrunedSpec, StudentSpec, TeacherSpec
from trainables.training.checkpoints import Checkpoints
from trainables.training.execution import Execution
from trainables.training.pack import Progress
from trainables.training.teachers import make_teacher

_STUDENT = "initial student"


class TeacherTasks:
    """The tasks of a study that make what its packs start from.

    `specs` are the missing teachers as they begin: those named first, then the widest, which takes longest; one that is
    made from another waits for it. A pruned student is cut after the teacher that it is cut from exists.
    """

    def __init__(self, config: StudyConfig, missing: Sequence[TeacherSpec], *, with_student: bool = True) -> None:
        self.specs = _order(config, missing)
        self._pending: dict[str, ray.ObjectRef] = {}
        self._failed = False
        for spec in self.specs:
            others = [self._pending[one.teacher_id] for one in spec.made_from if one.teacher_id in self._pending]
            self._pending[spec.teacher_id] = _start(spec, config, others)
        student = config.student
        if with_student and isinstance(student, PrunedSpec) and not is_made(student, folders(config.study_dir).initial):
            self._pending[_STUDENT] = _start_student(student, config, self._pending.get(student.teacher.teacher_id))

    @property
    def num_running(self) -> int:
        """How many hold a worker or wait for one."""
        self._collect()
        return len(self._pending)

    @property
    def failed(self) -> bool:
        self._collect()
        return self._failed

    def ready(self, pack: Pack) -> bool:
        """Whether what the pack starts from exists."""
        self._collect()
        return _STUDENT not in self._pending and (pack.teacher is None or pack.teacher.teacher_id not in self._pending)

    def is_made(self, spec: TeacherSpec) -> bool:
        self._collect()
        return spec.teacher_id not in self._pending

    def wait(self) -> None:
        """Until all are made. Raises what made one of them fail."""
        ray.get(list(self._pending.values()))

    def _collect(self) -> None:
        for name, task in list(self._pending.items()):
            if ray.wait([task], timeout=0)[0]:
                try:
                    ray.get(task)
                except Exception:  # raised again by wait()
                    self._failed = True
                else:
                    del self._pending[name]


def make_teachers(config: StudyConfig, missing: Sequence[TeacherSpec]) -> None:
    """Trains and evaluates the missing teachers, side by side, under a progress bar; for study.teachers."""
    tasks = TeacherTasks(config, missing, with_student=False)
    total = sum(spec.num_steps for spec in tasks.specs)

    with bar(StudyCount(config.study_dir), partial(describe_teachers, tasks), total=total, unit="step"):
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


def _remote(group: WorkerGroup, function: Callable[..., None]) -> ray.remote_function.RemoteFunction:
    """The function as a task with the resources of one worker."""
    resources = dict(group.resources)
    return ray.remote(
        num_cpus=resources.get("CPU", 0),
        num_gpus=resources.get("GPU", 0),
        memory=resources.get("memory", 0),
        max_retries=NO_LIMIT,
    )(function)


def _start(spec: TeacherSpec, config: StudyConfig, others: Sequence[ray.ObjectRef]) -> ray.ObjectRef:
    group, root = worker_group(config.cluster), checkpoints_dir(config.study_dir)
    return _remote(group, _make).remote(
        spec,
        config.evaluation,
        folders(config.study_dir),
        *others,
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
    *_others: None,  # Ray begins when they exist
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


def _start_student(student: PrunedSpec, config: StudyConfig, teacher: ray.ObjectRef | None) -> ray.ObjectRef:
    group, found = worker_group(config.cluster), folders(config.study_dir)
    return _remote(group, _make_student).remote(teacher, student, found, group.device, devices_per_worker(config))


def _make_student(_teacher: None, student: StudentSpec, found: Folders, device: str, devices: float) -> None:
    assert isinstance(student, PrunedSpec)
    make_initial(student, found.teachers, found.initial, device=device, devices=devices)

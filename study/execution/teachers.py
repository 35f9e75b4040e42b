"""The teachers that are not there are made by Ray tasks, one worker each; packs run beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import ray
from ray.actor import ActorHandle

from study.config.study import ClusterConfig, StudyConfig
from study.directory.layout import checkpoints_dir, folders
from study.execution.launch import NO_LIMIT
from study.planning.members import Pack, plan_teachers
from study.watching.progress_bar import bar
from study.watching.step_counter import make_board, report
from trainables.data import data_shape
from trainables.folders import Folders
from trainables.models import count
from trainables.models.students import make_initial
from trainables.models.teachers import find_teacher
from trainables.protocol import EvaluationSpec
from trainables.specs import PrunedSpec, TeacherSpec
from trainables.training.checkpoints import Checkpoints
from trainables.training.pack import Progress
from trainables.training.teachers import make_teacher


class TeacherTasks:
    """Teachers in the making; `specs` as they begin: those named first, then the widest, which takes longest."""

    def __init__(self, config: StudyConfig, board: ActorHandle, specs: Sequence[TeacherSpec] | None = None) -> None:
        """specs: those to make; by default all that the study misses."""
        wanted, shape = missing_teachers(config) if specs is None else specs, data_shape(config.data)
        first = {name: index - len(config.teachers_first) for index, name in enumerate(config.teachers_first)}
        self.specs = sorted(
            wanted,
            key=lambda spec: (spec.larger is not None, first.get(spec.name, 0), -count(spec.model, shape).macs),
        )
        self._pending: dict[str, ray.ObjectRef] = {}
        for spec in self.specs:  # an assistant waits for the larger one
            larger = self._pending.get(spec.larger.teacher_id) if spec.larger else None
            self._pending[spec.teacher_id] = _start(spec, config, board, larger)
        self._failed = False

    @property
    def num_running(self) -> int:
        """How many hold a worker or wait for one."""
        self._look()
        return len(self._pending)

    @property
    def failed(self) -> bool:
        self._look()
        return self._failed

    def are_there_for(self, pack: Pack) -> bool:
        """Whether the pack need not wait for its teacher."""
        self._look()
        return pack.teacher is None or pack.teacher.teacher_id not in self._pending

    def wait(self) -> None:
        """Until all are made. Raises what made one of them fail."""
        ray.get(list(self._pending.values()))

    def _look(self) -> None:
        for teacher_id, task in list(self._pending.items()):
            if ray.wait([task], timeout=0)[0]:
                try:
                    ray.get(task)
                except Exception:  # raised again by wait()
                    self._failed = True
                else:
                    del self._pending[teacher_id]


def make_teachers(config: StudyConfig, specs: Sequence[TeacherSpec] | None = None) -> None:
    """Trains and evaluates the teachers that are not there (or those of the specs), side by side."""
    board = make_board()
    tasks = TeacherTasks(config, board, specs)
    if tasks.specs:
        steps = sum(spec.num_steps for spec in tasks.specs)
        with bar(board, partial(_describe, len(tasks.specs)), total=steps, unit="step"):
            tasks.wait()


def make_initial_student(config: StudyConfig) -> None:
    """Cuts the student that all members start from, after the teacher that it is cut from is there."""
    student, cluster, found = config.student, config.cluster, folders(config.study_dir)
    assert isinstance(student, PrunedSpec)
    make_teachers(config, [spec for spec in missing_teachers(config) if spec.teacher_id == student.teacher.teacher_id])
    task = ray.remote(num_cpus=cluster.cpus_per_worker, num_gpus=cluster.gpus_per_worker, max_retries=NO_LIMIT)(
        make_initial
    )
    ray.get(task.remote(student, found.teachers, found.initial, device=_device(cluster)))


def missing_teachers(config: StudyConfig) -> list[TeacherSpec]:
    found = folders(config.study_dir)
    return [teacher for teacher in plan_teachers(config) if find_teacher(teacher, config.evaluation, found) is None]


def _start(spec: TeacherSpec, config: StudyConfig, board: ActorHandle, larger: ray.ObjectRef | None) -> ray.ObjectRef:
    cluster = config.cluster
    task = ray.remote(num_cpus=cluster.cpus_per_worker, num_gpus=cluster.gpus_per_worker, max_retries=NO_LIMIT)(_make)
    folder = checkpoints_dir(config.study_dir) / spec.teacher_id
    return task.remote(
        larger,
        spec,
        config.evaluation,
        folders(config.study_dir),
        cluster=cluster,
        checkpoints=Checkpoints(folder, config.checkpoint_every_steps),
        report=partial(report, board, spec.teacher_id),
    )


def _make(
    _larger: None,  # Ray begins when it is there
    spec: TeacherSpec,
    evaluation: EvaluationSpec,
    where: Folders,
    *,
    cluster: ClusterConfig,
    checkpoints: Checkpoints,
    report: Callable[[int], None],
) -> None:
    import torch

    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    make_teacher(spec, evaluation, where, device=_device(cluster), progress=Progress(report), checkpoints=checkpoints)


def _device(cluster: ClusterConfig) -> str:
    return "cuda" if cluster.gpus_per_worker > 0 else "cpu"


def _describe(num_teachers: int, steps: Mapping[str, int]) -> tuple[int, str]:
    return sum(steps.values()), f"teachers {num_teachers}"

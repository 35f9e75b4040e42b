"""The teachers that are not there are made by Ray tasks, one worker each; packs run beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import ray
from ray.actor import ActorHandle

from study.config import ClusterConfig, StudyConfig
from study.layout import checkpoints_dir, folders
from study.plan import Pack
from study.progress import bar, make_board, report
from study.trial import NO_LIMIT
from trainables.data import data_shape
from trainables.models import count
from trainables.pack import Folders, Progress
from trainables.resume import Checkpoints
from trainables.specs import EvaluationSpec, TeacherSpec
from trainables.teachers import find_teacher, make_teacher


class TeacherTasks:
    """Teachers in the making, by teacher_id; widest first, for it takes longest."""

    def __init__(self, config: StudyConfig, board: ActorHandle) -> None:
        self.specs = missing_teachers(config)
        shape = data_shape(config.data)
        widest_first = sorted(self.specs, key=lambda spec: -count(spec.model, shape).macs)
        self._pending = {spec.teacher_id: _start(spec, config, board) for spec in widest_first}
        self.last = widest_first[0].teacher_id if widest_first else None  # it will take longest
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


def make_teachers(config: StudyConfig) -> None:
    """Trains and evaluates the teachers that are not there, side by side."""
    board = make_board()
    tasks = TeacherTasks(config, board)
    if tasks.specs:
        steps = sum(spec.train.steps for spec in tasks.specs)
        with bar(board, partial(_describe, len(tasks.specs)), total=steps, unit="step"):
            tasks.wait()


def missing_teachers(config: StudyConfig) -> list[TeacherSpec]:
    found = folders(config.study_dir)
    return [teacher for teacher in config.teachers if find_teacher(teacher, config.evaluation, found) is None]


def _start(spec: TeacherSpec, config: StudyConfig, board: ActorHandle) -> ray.ObjectRef:
    cluster = config.cluster
    task = ray.remote(num_cpus=cluster.cpus_per_worker, num_gpus=cluster.gpus_per_worker, max_retries=NO_LIMIT)(_make)
    folder = checkpoints_dir(config.study_dir) / spec.teacher_id
    return task.remote(
        spec,
        config.evaluation,
        folders(config.study_dir),
        cluster=cluster,
        checkpoints=Checkpoints(folder, config.checkpoint_every_steps),
        report=partial(report, board, spec.teacher_id),
    )


def _make(
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
    device = "cuda" if cluster.gpus_per_worker > 0 else "cpu"
    make_teacher(spec, evaluation, where, device=device, progress=Progress(report), checkpoints=checkpoints)


def _describe(num_teachers: int, steps: Mapping[str, int]) -> tuple[int, str]:
    return sum(steps.values()), f"teachers {num_teachers}"

"""The study as frozen dataclasses, checked when they are made. config/parse.py makes them of a config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.results.settings import ReportSettings
from study.config.tuning import TuningConfig
from trainables import plugins
from trainables.arithmetic import require_gpu_for
from trainables.checks import require_choice, require_number, require_text, require_whole
from trainables.data import DataSpec
from trainables.data.own_data import OwnData
from trainables.losses.methods import Method
from trainables.process import Process
from trainables.protocol import EvaluationSpec
from trainables.specs import ModelSpec, StudentSpec, TeacherSpec, TrainSpec
from trainables.training.execution import Execution

LOCAL = "local"
_ADDRESS = re.compile(r"(local|auto|[A-Za-z0-9_.\-]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5})\Z")
_HOST = re.compile(r"[A-Za-z0-9_.:\-]{1,255}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,63}\Z")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where packs run, and what one worker group of a pack asks for, and one of a teacher (None: as a pack's)."""

    address: str
    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    dashboard_host: str
    memory_gb_per_worker: float = 0.0  # of the node; 0: not counted
    teacher_num_workers: int = 1
    teacher_cpus_per_worker: float | None = None
    teacher_gpus_per_worker: float | None = None

    @property
    def of_teachers(self) -> ClusterConfig:
        """The same with what a teacher's worker group asks for in the place of a pack's."""
        cpus, gpus = self.teacher_cpus_per_worker, self.teacher_gpus_per_worker
        return replace(
            self,
            num_workers=self.teacher_num_workers,
            cpus_per_worker=self.cpus_per_worker if cpus is None else cpus,
            gpus_per_worker=self.gpus_per_worker if gpus is None else gpus,
        )

    def __post_init__(self) -> None:
        allowed = "local, auto or host:port"
        if str(self.address).startswith("ray://"):
            raise ValueError(
                f"cluster.address must be {allowed} but got {self.address!r}: Ray's client cannot run a study;"
                " submit it there: ray job submit --working-dir . -- python -m study.sweep cluster.address=auto"
            )
        if not _ADDRESS.match(require_text("cluster.address", self.address, allowed)):
            raise ValueError(f"cluster.address must be {allowed} but got {self.address!r}")
        require_whole("cluster.num_workers", self.num_workers, 1)
        require_number("cluster.cpus_per_worker", self.cpus_per_worker, above=0)
        require_number("cluster.gpus_per_worker", self.gpus_per_worker, at_least=0)
        require_whole("cluster.teacher_num_workers", self.teacher_num_workers, 1)
        if self.teacher_cpus_per_worker is not None:
            require_number("cluster.teacher_cpus_per_worker", self.teacher_cpus_per_worker, above=0)
        if self.teacher_gpus_per_worker is not None:
            require_number("cluster.teacher_gpus_per_worker", self.teacher_gpus_per_worker, at_least=0)
        of_teachers = self.gpus_per_worker if self.teacher_gpus_per_worker is None else self.teacher_gpus_per_worker
        _require_whole_gpus("", self.num_workers, self.gpus_per_worker)
        _require_whole_gpus("teacher_", self.teacher_num_workers, of_teachers)
        require_number("cluster.memory_gb_per_worker", self.memory_gb_per_worker, at_least=0)
        require_text("cluster.dashboard_host", self.dashboard_host, "an address such as 127.0.0.1")
        if not _HOST.match(self.dashboard_host):
            raise ValueError(
                f"cluster.dashboard_host must be an address such as 127.0.0.1 but got {self.dashboard_host!r}"
            )


def _require_whole_gpus(whose: str, num_workers: int, gpus_per_worker: float) -> None:
    if num_workers > 1 and 0 < gpus_per_worker < 1:
        raise ValueError(
            f"cluster.{whose}gpus_per_worker must be 0, or 1 or more, where cluster.{whose}num_workers is"
            f" {num_workers}, for NCCL refuses two ranks on one GPU, but got {gpus_per_worker:g}"
        )


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything a study is. `recipe` holds the settings that every method takes unless it says otherwise."""

    study: str
    study_dir: Path
    data: DataSpec
    process: Process
    student: StudentSpec
    teachers: tuple[TeacherSpec, ...]
    methods: tuple[Method, ...]
    own_methods: Mapping[str, Method]  # by name, those that the config defines, before the recipe's settings
    assistants: Mapping[str, TeacherSpec]  # by name; what methods learn through, distilled from each teacher
    recipe: Mapping[str, Any]
    seeds: tuple[int, ...]
    train: TrainSpec
    evaluation: EvaluationSpec
    tuning: TuningConfig | None  # None: protocol=grid
    max_members: int | None  # of a pack; None: as many as its workers' memory holds
    checkpoint_every_minutes: float | None  # None: no checkpoints; 0: after every step
    execution: Execution  # how packs and teachers are trained, which changes no result
    report: ReportSettings
    cluster: ClusterConfig
    max_device_hours: float | None = None  # when as many are used, nothing more is begun
    teachers_first: tuple[str, ...] = ()  # names; their members come before those of the others
    loggers: tuple[str, ...] = ()  # where finished members are shown too (study/loggers)

    def __post_init__(self) -> None:
        require_name("study", self.study)
        require_name("data.name", self.data.name)
        for seed in self.seeds:
            require_whole("seeds", seed, 0)
        _require_distinct("seeds", self.seeds)
        seeds = {teacher.seed for teacher in self.teachers if teacher.seed is not None}
        if self.tuning is not None and len(seeds) > 1:
            raise ValueError(
                f"teacher_seeds must hold one seed where settings are searched (protocol={self.tuning.name})"
                f" but got {sorted(seeds)}"
            )
        once = [one.name for one in self.teachers if one.seed in (min(seeds, default=None), None)]
        _require_distinct("teachers", once)
        _require_distinct("methods", self.methods)
        self._require_first()
        self._require_kind_of_work()
        if self.max_members is not None:
            require_whole("pack.max_members", self.max_members, 1)
        if self.checkpoint_every_minutes is not None:
            require_number("pack.checkpoint_every_minutes", self.checkpoint_every_minutes, at_least=0)
        unguided = [method.name for method in self.methods if not method.needs_teacher]
        for key, value in (("inputs", "data_free"), ("diffusion_loss", "none")):
            if getattr(self.train, key) == value and unguided:
                raise ValueError(f"train.{key}={value} is for methods that learn from a teacher but got {unguided[0]}")
        if self.train.pool_steps is not None:
            require_whole("train.pool_steps", self.train.pool_steps, 1, self.process.num_timesteps)
        self.process.require_sampler(self.evaluation.sampler)
        require_whole("evaluation.sampler_steps", self.evaluation.sampler_steps, 1, self.process.num_timesteps)
        if self.max_device_hours is not None:
            require_number("max_device_hours", self.max_device_hours, above=0)
        self._require_shares(self.train, "num_workers", self.cluster.num_workers)
        for teacher in (*self.teachers, *self.assistants.values()):
            if teacher.pretrained is None:
                self._require_shares(teacher.train, "teacher_num_workers", self.cluster.teacher_num_workers)
        stopping = self.tuning.early_stopping if self.tuning else None
        if stopping is not None and stopping.steps[-1] >= self.train.steps:
            raise ValueError(
                f"protocol.early_stopping.steps must be below train.steps ({self.train.steps})"
                f" but got {stopping.steps[-1]}"
            )

    @property
    def checkpoint_seconds(self) -> float | None:
        """Between two checkpoints of a pack or a teacher; None: there are none."""
        return None if self.checkpoint_every_minutes is None else 60.0 * self.checkpoint_every_minutes

    def _require_shares(self, train: TrainSpec, key: str, num_workers: int) -> None:
        if train.batch_size % num_workers:
            raise ValueError(
                f"{train.key}.batch_size must be a multiple of cluster.{key} ({num_workers}) but got {train.batch_size}"
            )
        share, parts = train.batch_size // num_workers, self.execution.gradient_accumulation
        if share % parts:
            raise ValueError(
                f"pack.gradient_accumulation must divide a worker's share of {train.key}.batch_size, which is {share},"
                f" but got {parts}"
            )

    @property
    def own_code(self) -> list[Path]:
        """Modules and packages of the user's that workers import; none of what is installed."""
        models = [self.student, *(teacher.model for teacher in (*self.teachers, *self.assistants.values()))]
        paths = {spec.model_class for spec in map(_whole, models) if spec.code is not None}
        paths |= {path for method in (*self.methods, *self.own_methods.values()) for path in method.code}
        paths |= {*self.evaluation.code, *({self.data.source} if isinstance(self.data, OwnData) else ())}
        return sorted({file for path in paths for file in plugins.to_ship(path)})

    def _require_kind_of_work(self) -> None:
        for cluster, trains in (
            (self.cluster, [self.train]),
            (self.cluster.of_teachers, [teacher.train for teacher in self.teachers]),
        ):
            for train in trains:
                require_gpu_for(train.matmul, "cuda" if cluster.gpus_per_worker else "cpu", train.key)
        self.execution.check_fused(self.cluster.num_workers)

    def _require_first(self) -> None:
        if self.teachers_first and self.tuning is not None:
            raise ValueError(
                f"teachers_first must be [] where searches of all teachers go on together (protocol={self.tuning.name})"
                f" but got {list(self.teachers_first)}"
            )
        names = [teacher.name for teacher in self.teachers]
        _require_distinct("teachers_first", self.teachers_first)
        for name in self.teachers_first:
            require_choice("teachers_first", name, names)


def _whole(spec: StudentSpec) -> ModelSpec:
    """The model, or the one that it is cut from in the end."""
    return spec if isinstance(spec, ModelSpec) else _whole(spec.teacher.model)


def require_name(key: str, value: Any) -> None:
    """Raises ValueError unless the value can name a file: a name never becomes a path unchecked."""
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError(f"{key} must be a name of at most 64 letters, digits, '_', '.', '=' and '-' but got {value!r}")


def _require_distinct(key: str, values: Sequence[Any]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{key} must be distinct but {getattr(value, 'name', value)!r} is given twice")

"""The study as frozen dataclasses, checked when they are made. Hydra ends here: nothing below sees a DictConfig."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from search_spaces import load_space
from study.command import option_config, option_names
from trainables.data import image_shape
from trainables.extractors import make_extractor
from trainables.losses.methods import METHODS, SETTINGS, Method, make_method
from trainables.models import count
from trainables.specs import EvaluationSpec, ModelSpec, TeacherSpec, TrainSpec, require_choice

LOCAL = "local"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,63}\Z")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where packs run, and what one worker group of a pack asks for."""

    address: str
    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    dashboard_host: str

    def __post_init__(self) -> None:
        _require(self.num_workers, int, "cluster.num_workers", "a whole number of 1 or more", low=1)
        _require(self.cpus_per_worker, float, "cluster.cpus_per_worker", "a number above 0", low=1e-3)
        _require(self.gpus_per_worker, float, "cluster.gpus_per_worker", "a number of 0 or more", low=0)
        _require(self.address, str, "cluster.address", "local, auto, host:port or ray://host:port")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """protocol=search: Optuna chooses the settings of one method on one teacher and one seed."""

    method: str
    teacher: str
    num_members: int
    members_per_trial: int
    seed: int
    sampler_seed: int
    space: str

    def __post_init__(self) -> None:
        require_choice("protocol.method", self.method, tuple(METHODS))
        for key in ("num_members", "members_per_trial"):
            _require(getattr(self, key), int, f"protocol.{key}", "a whole number of 1 or more", low=1)
        for key in ("seed", "sampler_seed"):
            _require(getattr(self, key), int, f"protocol.{key}", "a whole number of 0 or more", low=0)
        for key in load_space(self.space):
            require_choice("search_space", key, SETTINGS)


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything a study is. `recipe` holds the settings that every method takes unless it says otherwise."""

    study: str
    study_dir: Path
    data: str
    student: ModelSpec
    teachers: tuple[TeacherSpec, ...]
    methods: tuple[Method, ...]
    recipe: Mapping[str, Any]
    seeds: tuple[int, ...]
    train: TrainSpec
    evaluation: EvaluationSpec
    search: SearchConfig | None
    max_members: int
    collapse_fid: float
    cluster: ClusterConfig

    def __post_init__(self) -> None:
        if not _NAME.match(self.study):
            raise ValueError(f"study must be a name of letters, digits, '_', '.', '=' and '-' but got {self.study!r}")
        _require_distinct("seeds", self.seeds)
        for seed in self.seeds:
            _require(seed, int, "seeds", "distinct whole numbers of 0 or more", low=0)
        _require_distinct("teachers", [teacher.name for teacher in self.teachers])
        _require_distinct("methods", self.methods)
        _require(self.max_members, int, "pack.max_members", "a whole number of 1 or more", low=1)
        _require(self.collapse_fid, float, "collapse_fid", "a number above 0", low=1e-9)
        if self.train.batch_size % self.cluster.num_workers:
            raise ValueError(
                f"train.batch_size must be a multiple of cluster.num_workers ({self.cluster.num_workers}) but got {self.train.batch_size}"
            )
        if self.search is not None:
            require_choice("protocol.teacher", self.search.teacher, tuple(teacher.name for teacher in self.teachers))


def study_config(cfg: DictConfig) -> StudyConfig:
    """Checks a composed config and makes the study of it. Raises ValueError naming the key, the value and what is allowed."""
    try:
        raw: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except Exception as error:
        raise ValueError(str(error)) from error
    data = _require(_mapping(raw, "data").get("name"), str, "data.name", "the name of a data set")
    shape = image_shape(data)
    train = _make(TrainSpec, "train", {**_mapping(raw, "train"), "key": "train"})
    evaluation = _make(EvaluationSpec, "evaluation", _mapping(raw, "evaluation"))
    make_extractor(
        evaluation.feature_extractor, weights_path=evaluation.extractor_weights
    )  # refuses bad weights before the start
    student = _model("student", _mapping(raw, "student"), shape)
    teacher_train = _make(TrainSpec, "teacher_train", {**_mapping(raw, "teacher_train"), "key": "teacher_train"})
    teacher_seed = _require(raw["teacher_seed"], int, "teacher_seed", "a whole number of 0 or more", low=0)
    teachers = tuple(
        TeacherSpec(model=_teacher_model(entry, shape), train=teacher_train, data=data, seed=teacher_seed)
        for entry in _list(raw, "teachers")
    )
    recipe = _mapping(raw, "method")
    num_elements = shape[1] * shape[2]
    methods = tuple(_method(entry, recipe, num_elements) for entry in _list(raw, "methods"))
    return StudyConfig(
        study=_require(raw["study"], str, "study", "a name"),
        study_dir=Path(_require(raw["study_dir"], str, "study_dir", "a path")),
        data=data,
        student=student,
        teachers=teachers,
        methods=methods,
        recipe=recipe,
        seeds=tuple(_list(raw, "seeds")),
        train=train,
        evaluation=evaluation,
        search=_protocol(_mapping(raw, "protocol"), raw["search_space"]),
        max_members=_make_pack(_mapping(raw, "pack")),
        collapse_fid=_require(raw["collapse_fid"], float, "collapse_fid", "a number above 0", low=1e-9),
        cluster=_make(ClusterConfig, "cluster", _mapping(raw, "cluster")),
    )


def write_study_yaml(cfg: DictConfig, study_dir: Path) -> None:
    """Writes the resolved config as study.yaml, for people; nothing reads it back."""
    study_dir.mkdir(parents=True, exist_ok=True)
    temporary = study_dir / ".study.yaml.tmp"
    temporary.write_text(yaml.safe_dump(OmegaConf.to_container(cfg, resolve=True), sort_keys=False))
    temporary.replace(study_dir / "study.yaml")


def _protocol(raw: Mapping[str, Any], space: Any) -> SearchConfig | None:
    name = raw.get("name")
    require_choice("protocol.name", name, ("grid", "search"))
    settings = {key: value for key, value in raw.items() if key != "name"}
    if name == "search":
        return _make(
            SearchConfig, "protocol", {**settings, "space": _require(space, str, "search_space", "a name or a path")}
        )
    if settings:
        raise ValueError(f"protocol.{next(iter(settings))} is not a key of protocol=grid; it has none")
    return None


def _make_pack(raw: Mapping[str, Any]) -> int:
    if set(raw) != {"max_members"}:
        raise ValueError(f"pack takes max_members but got {', '.join(map(str, raw))}")
    return _require(raw["max_members"], int, "pack.max_members", "a whole number of 1 or more", low=1)


def _teacher_model(entry: Any, shape: tuple[int, int, int]) -> ModelSpec:
    if isinstance(entry, Mapping):
        return _model("teachers", entry, shape)
    if not isinstance(entry, str) or entry not in option_names("teacher"):
        raise ValueError(
            f"teachers must be among {', '.join(option_names('teacher'))} or a mapping of a model but got {entry!r}"
        )
    return _model(f"teacher {entry}", option_config("teacher", entry), shape)


def _model(key: str, raw: Mapping[str, Any], shape: tuple[int, int, int]) -> ModelSpec:
    spec = _make(ModelSpec, key, raw)
    if not isinstance(spec.name, str) or not _NAME.match(spec.name):
        raise ValueError(f"{key}.name must be a name of letters, digits, '_', '.', '=' and '-' but got {spec.name!r}")
    if not isinstance(spec.config, Mapping):
        raise ValueError(f"{key}.config must be the config of a diffusers model but got {spec.config!r}")
    count(spec, shape)  # refuses a config that cannot be built, in milliseconds (meta device)
    return spec


def _method(entry: Any, recipe: Mapping[str, Any], num_elements: int) -> Method:
    """A methods entry: a name of the table, or {method: name, setting: value, ...}."""
    if isinstance(entry, Mapping):
        settings = {key: value for key, value in entry.items() if key != "method"}
        return make_method(str(entry.get("method")), {**recipe, **settings}, num_elements=num_elements)
    if not isinstance(entry, str):
        raise ValueError(
            f"methods must be names of methods ({', '.join(METHODS)}) or mappings with a key method but got {entry!r}"
        )
    return make_method(entry, recipe, num_elements=num_elements)


def _make(cls: Any, key: str, raw: Mapping[str, Any]) -> Any:
    """cls(**raw) with unknown and missing keys named."""
    allowed = [field.name for field in fields(cls) if field.name not in ("key", "space")]
    for name in raw:
        if name not in (*allowed, "key", "space"):
            raise ValueError(f"{key}.{name} is not a key of {key}; allowed: {', '.join(allowed)}")
    try:
        return cls(**raw)
    except TypeError as error:
        raise ValueError(f"{key} needs {', '.join(allowed)}: {error}") from error


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return _require(raw.get(key), Mapping, key, "a mapping")  # type: ignore[type-abstract]


def _list(raw: Mapping[str, Any], key: str) -> list[Any]:
    values = _require(raw.get(key), list, key, "a list such as [a,b]")
    if not values:
        raise ValueError(f"{key} must be a list with at least one entry but got []")
    return values


def _require(value: Any, kind: type, key: str, allowed: str, *, low: float | None = None) -> Any:
    """The value, if it is of the kind and not below `low`; else ValueError."""
    kinds = (int, float) if kind is float else kind
    if (
        not isinstance(value, kinds)
        or (isinstance(value, bool) and kind in (int, float))
        or (low is not None and not value >= low)
    ):
        raise ValueError(f"{key} must be {allowed} but got {value!r}")
    return value


def _require_distinct(key: str, values: Sequence[Any]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{key} must be distinct but {getattr(value, 'name', value)!r} is there twice")

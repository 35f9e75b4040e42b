"""A composed config -> StudyConfig. Hydra ends here: nothing below sees a DictConfig."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from study.command import one_line, option_config, option_names
from study.config import ClusterConfig, StudyConfig, require_name
from study.tuning_config import KEYS, TuningConfig, make_tuning
from trainables.checks import require_choice, require_number, require_text, require_whole
from trainables.data import DataShape, DataSpec, data_shape, make_data
from trainables.extractors import make_extractor
from trainables.families import FAMILIES
from trainables.losses.methods import METHODS, Method, make_method
from trainables.models import count
from trainables.models.build import model_classes
from trainables.process import Process
from trainables.specs import EvaluationSpec, ModelSpec, TeacherSpec, TrainSpec

_SIZES = {"layers_per_block": (1, 64), "block_out_channels": (1, 10**5), "norm_num_groups": (1, 10**5)}
_GROUPS = ["data", "process", "student", "method", "protocol", "evaluation", "cluster"]
Raw = Mapping[str, Any]
T = TypeVar("T")


def study_config(cfg: DictConfig) -> StudyConfig:
    """Checks a composed config and makes the study of it.

    Raises ValueError naming the key, the value and what is allowed.
    """
    raw = _plain(cfg)
    _check_keys("the config", raw, list(option_config(".", "config"))[1:] + _GROUPS)
    data = make_data(_mapping(raw, "data"))
    shape = data_shape(data)
    process = _make(Process, "process", _mapping(raw, "process"))
    evaluation = _make(EvaluationSpec, "evaluation", _mapping(raw, "evaluation"))
    recipe = _mapping(raw, "method")
    teachers = _teachers(raw, data, process)
    tuning = _tuning(raw, [teacher.name for teacher in teachers], recipe, shape)
    _check_keys("pack", _mapping(raw, "pack"), ["max_members", "checkpoint_every_steps"])
    config = StudyConfig(
        study=raw["study"],
        study_dir=_path("study_dir", raw.get("study_dir")),
        data=data,
        process=process,
        student=_model("student", _mapping(raw, "student"), shape),
        teachers=tuple(teacher for teacher in teachers if tuning is None or teacher.name in tuning.teachers),
        methods=tuple(_method(entry, recipe, shape) for entry in _list(raw, "methods")),
        recipe=recipe,
        seeds=tuple(_list(raw, "seeds")),
        train=_train(raw, "train"),
        evaluation=evaluation,
        tuning=tuning,
        max_members=_mapping(raw, "pack")["max_members"],
        checkpoint_every_steps=_mapping(raw, "pack")["checkpoint_every_steps"],
        collapse_fid=raw["collapse_fid"],
        cluster=_make(ClusterConfig, "cluster", _mapping(raw, "cluster")),
    )
    # Refused now, not after the first pack.
    make_extractor(evaluation.feature_extractor, weights_path=evaluation.extractor_weights)
    for spec in (config.student, *(teacher.model for teacher in teachers)):
        _check_builds(spec, shape)
    return config


def write_study_yaml(cfg: DictConfig, study_dir: Path) -> None:
    """Writes the resolved config as study.yaml, for people; nothing reads it back."""
    study_dir.mkdir(parents=True, exist_ok=True)
    temporary = study_dir / ".study.yaml.tmp"
    temporary.write_text(yaml.safe_dump(_plain(cfg), sort_keys=False))
    temporary.replace(study_dir / "study.yaml")


def _plain(cfg: DictConfig) -> dict[str, Any]:
    try:
        raw: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{error.full_key or 'the config'}: {one_line(error)}") from error
    assert isinstance(raw, dict)
    return raw


def _teachers(raw: Raw, data: DataSpec, process: Process) -> tuple[TeacherSpec, ...]:
    train = _train(raw, "teacher_train")
    seed = raw["teacher_seed"]
    require_whole("teacher_seed", seed, 0)
    models = [_teacher_model(entry, data_shape(data)) for entry in _list(raw, "teachers")]
    return tuple(TeacherSpec(model=model, train=train, data=data, seed=seed, process=process) for model in models)


def _train(raw: Raw, key: str) -> TrainSpec:
    return _make(TrainSpec, key, _mapping(raw, key), key=key)


def _teacher_model(entry: Any, shape: DataShape) -> ModelSpec:
    """A teachers entry: the name of a file in conf/teacher, or a model {name, model_class, config}."""
    if isinstance(entry, Mapping):
        return _model("teachers", entry, shape)
    names = option_names("teacher")
    if entry not in names:
        raise ValueError(
            f"teachers must be among {', '.join(names)}, or models with name, model_class and config, but got {entry!r}"
        )
    return _model(f"teacher.{entry}", option_config("teacher", entry), shape)


def _model(key: str, raw: Raw, shape: DataShape) -> ModelSpec:
    spec = _make(ModelSpec, key, raw)
    require_name(f"{key}.name", spec.name)
    require_choice(f"{key}.model_class", spec.model_class, model_classes())
    config = _mapping(raw, "config", f"{key}.config")
    for name in FAMILIES[spec.model_class].config(shape):
        if name in config:
            raise ValueError(f"{key}.config.{name} follows from the data and cannot be set, but got {config[name]!r}")
    _check_sizes(f"{key}.config", config)
    return spec


def _check_builds(spec: ModelSpec, shape: DataShape) -> None:
    """Builds the model without weights (meta device), which takes milliseconds."""
    try:
        count(spec, shape)
    except Exception as error:  # diffusers checks little itself: a model that cannot be built fails in many ways
        raise ValueError(
            f"{spec.name}.config {dict(spec.config)} does not describe a model that can be built: {error}"
        ) from error


def _check_sizes(key: str, value: Any) -> None:
    """Refuses numbers with which building a model would fail late, or never end."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_sizes(f"{key}.{name}", inner)
    elif isinstance(value, list):
        for inner in value:
            _check_sizes(key, inner)
    elif isinstance(value, int) and not isinstance(value, bool):
        require_whole(key, value, *_SIZES.get(key.rpartition(".")[2], (0, 10**5)))
    elif isinstance(value, float):
        require_number(key, value, at_least=0)


def _method(entry: Any, recipe: Raw, shape: DataShape) -> Method:
    """A methods entry: a name of the table, or {method: name, setting: value, ...}."""
    settings: Raw = {"method": entry} if isinstance(entry, str) else entry
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"methods must be among {', '.join(METHODS)}, or mappings with a key method, but got {entry!r}"
        )
    own = {key: value for key, value in settings.items() if key != "method"}
    return make_method(str(settings.get("method")), {**recipe, **own}, num_elements=shape.num_elements)


def _tuning(raw: Raw, teachers: list[str], recipe: Raw, shape: DataShape) -> TuningConfig | None:
    """None for protocol=grid."""
    protocol = _mapping(raw, "protocol")
    require_choice("protocol.name", protocol.get("name"), ("grid", "search", "tuned"))
    _check_keys(f"protocol={protocol['name']}", protocol, ["name", *(KEYS if protocol["name"] != "grid" else [])])
    if protocol["name"] == "grid":
        return None
    return make_tuning(protocol, raw["search_space"], recipe=recipe, teachers=teachers, num_elements=shape.num_elements)


def _make(cls: type[T], key: str, raw: Raw, /, **own: str) -> T:
    """cls(**raw, **own) with unknown and missing keys of raw named."""
    allowed = [field.name for field in fields(cls) if field.name not in own]  # type: ignore[arg-type]
    _check_keys(key, raw, allowed)
    try:
        return cls(**raw, **own)
    except TypeError as error:
        raise ValueError(f"{key} must have the keys {', '.join(allowed)} but got {', '.join(raw) or 'none'}") from error


def _check_keys(key: str, raw: Raw, allowed: list[str]) -> None:
    for name in raw:
        if name not in allowed:
            raise ValueError(f"{key} has no key {name!r}; allowed: {', '.join(allowed) or 'none'}")


def _mapping(raw: Raw, key: str, full_key: str | None = None) -> Raw:
    value = raw.get(key)
    if not isinstance(value, Mapping):
        raise ValueError(f"{full_key or key} must be a mapping of keys to values but got {value!r}")
    return value


def _path(key: str, value: Any) -> Path:
    text = require_text(key, value, "a path")
    if not text.isprintable():
        raise ValueError(f"{key} must be a path of printable characters but got {text!r}")
    try:
        Path(text).exists()  # says no where there is nothing, and raises where there can be nothing
    except OSError as error:
        raise ValueError(f"{key} must be a path that there can be but got {text}: {error.strerror}") from error
    return Path(text)


def _list(raw: Raw, key: str) -> list[Any]:
    value = raw.get(key)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{key} must be a list with at least one entry but got {value!r}")
    return value

"""The config's entries for teachers and students -> their specs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.config.command_line import option_config, option_names
from study.config.study import require_name
from trainables.checks import (
    Raw,
    check_keys,
    make,
    mapping,
    require_choice,
    require_number,
    require_text,
    require_whole,
)
from trainables.data import DataShape, DataSpec, data_shape
from trainables.families import FAMILIES
from trainables.models import count
from trainables.models.build import model_classes
from trainables.models.pretrained import find_pretrained
from trainables.process import Process
from trainables.pruning import check_settings, check_teacher_of
from trainables.specs import ModelSpec, Pretrained, PrunedSpec, StudentSpec, TeacherSpec, TrainSpec

_SIZES = {"layers_per_block": (1, 64), "block_out_channels": (1, 10**5), "norm_num_groups": (1, 10**5)}
_HUB = ("hub", "revision", "subfolder")
_ENTRIES = "models with name, model_class and config (and hub), or with name and folder"


def make_teacher_spec(entry: Any, raw: Raw, data: DataSpec, process: Process) -> TeacherSpec:
    """A teachers entry: the name of a file in conf/teacher, or a mapping of what would be in one.

    raw: the config, for teacher_train and teacher_seed. Raises ValueError naming what is wrong.
    """
    train = make(TrainSpec, "teacher_train", mapping(raw, "teacher_train"), key="teacher_train")
    require_choice("teacher_train.inputs", train.inputs, ("real",))
    require_choice("teacher_train.diffusion_loss", train.diffusion_loss, ("matching",))
    seed = raw["teacher_seed"]
    require_whole("teacher_seed", seed, 0)
    key, settings = "teachers", entry
    if not isinstance(entry, Mapping):
        names = option_names("teacher")
        if entry not in names:
            raise ValueError(f"teachers must be among {', '.join(names)}, or {_ENTRIES}, but got {entry!r}")
        key, settings = f"teacher.{entry}", option_config("teacher", entry)
    if "folder" in settings:
        return _of_folder(key, settings, train, data, process)
    own = {name: value for name, value in settings.items() if name not in _HUB}
    spec = TeacherSpec(
        model=make_model_spec(key, own, data_shape(data)), train=train, data=data, seed=seed, process=process
    )
    return replace(spec, pretrained=_of_hub(key, settings)) if "hub" in settings else spec


def _of_folder(key: str, settings: Raw, train: TrainSpec, data: DataSpec, process: Process) -> TeacherSpec:
    """A teacher that is there already: what it is and how it was trained is read from its files."""
    check_keys(key, settings, ["name", "folder", "subfolder"])
    require_name(f"{key}.name", settings.get("name"))
    root = Path(require_text(f"{key}.folder", settings["folder"], "a path"))
    found = find_pretrained(settings["name"], root, settings.get("subfolder"), data_shape(data))
    if found.process is not None and not found.process.trains_like(process):
        raise ValueError(
            f"process={process.scheduler} {dict(process.config)} is not that of teacher {settings['name']}, which was"
            f" trained with {found.process.scheduler} {dict(found.process.config)}; say so in process"
        )
    return TeacherSpec(model=found.model, train=train, data=data, process=process, pretrained=found.pretrained)


def _of_hub(key: str, settings: Raw) -> Pretrained:
    """A teacher of the Hugging Face hub; it is fetched when it is made, and must be what the entry says."""
    texts = {name: require_text(f"{key}.{name}", settings[name], "text") for name in _HUB if settings.get(name)}
    digest = f"{texts['hub']}@{texts.get('revision', 'main')}/{texts.get('subfolder', '')}"
    return Pretrained(digest=digest, **texts)


def make_student_spec(raw: Raw, data: DataSpec, process: Process) -> StudentSpec:
    """The student group: a model of its own, or {name, teacher, pruning}: one that is cut from a teacher."""
    settings = mapping(raw, "student")
    if "pruning" not in settings:
        return make_model_spec("student", settings, data_shape(data))
    check_keys("student", settings, ["name", "teacher", "pruning"])
    require_name("student.name", settings.get("name"))
    pruning = mapping(settings, "pruning", "student.pruning")
    check_settings(pruning)
    teacher = make_teacher_spec(settings.get("teacher"), raw, data, process)
    check_teacher_of(pruning, teacher.model.model_class)
    return PrunedSpec(name=settings["name"], teacher=teacher, pruning=pruning)


def make_model_spec(key: str, raw: Raw, shape: DataShape) -> ModelSpec:
    """A model by its class and config. Raises ValueError for what cannot be built."""
    spec = make(ModelSpec, key, raw)
    require_name(f"{key}.name", spec.name)
    require_choice(f"{key}.model_class", spec.model_class, model_classes())
    config = mapping(raw, "config", f"{key}.config")
    for name in FAMILIES[spec.model_class].config(shape):
        if name in config:
            raise ValueError(f"{key}.config.{name} follows from the data and cannot be set, but got {config[name]!r}")
    _check_sizes(f"{key}.config", config)
    try:
        count(spec, shape)  # builds it without weights, which takes milliseconds
    except Exception as error:  # diffusers checks little itself: a model that cannot be built fails in many ways
        raise ValueError(
            f"{spec.name}.config {dict(spec.config)} does not describe a model that can be built: {error}"
        ) from error
    return spec


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

"""A composed config -> StudyConfig. Hydra ends here: nothing below sees a DictConfig."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from analysis.results.settings import ReportSettings
from storage import location, new_file
from study.config.command_line import one_line, plain, require_study
from study.config.data import make_study_data, missing_data, without
from study.config.methods import make_study_method, own_methods
from study.config.models import make_student_spec, make_teacher_spec, make_teacher_specs, teacher_seeds
from study.config.options import option_config
from study.config.own_folders import completed
from study.config.study import ClusterConfig, StudyConfig
from study.config.tuning import KEYS, TuningConfig, make_tuning
from study.loggers.table import LOGGERS, require_loggers, require_place
from trainables.checks import Raw, check_keys, items, make, mapping, require_choice, require_keys, require_text
from trainables.data import DataShape, DataSpec, data_shape, load_data
from trainables.data.planned import Planned
from trainables.evaluation.extractors import IMAGE_SIDES
from trainables.evaluation.study_extractor import check_extractor
from trainables.losses.methods import Method
from trainables.plugins import not_from
from trainables.process import Process
from trainables.protocol import EvaluationSpec
from trainables.specs import TrainSpec
from trainables.training.execution import Execution

_GROUPS = ["data", "process", "student", "train", "teacher_train", "method", "protocol", "evaluation", "cluster"]
_OF_PACKS = ("max_members", "checkpoint_every_minutes")  # the other keys of `pack` are those of Execution


def study_config(cfg: DictConfig, *, is_new: bool = True) -> StudyConfig:
    """Checks a composed config and makes the study of it.

    is_new: whether it is to be run, so that its extractor is looked at too.
    Raises ValueError naming the key, the value and what is allowed.
    """
    missing = missing_data(cfg)
    raw = completed(plain(without(cfg, missing)))
    check_keys("the config", raw, list(option_config(".", "config"))[1:] + _GROUPS)
    data = make_study_data(raw, missing)
    shape = data_shape(data)
    process = make(Process, "process", mapping(raw, "process"))
    process.check()
    evaluation = make(EvaluationSpec, "evaluation", mapping(raw, "evaluation"))
    recipe = mapping(raw, "method")
    entries = items(raw, "teachers")
    teachers = [spec for entry in entries for spec in make_teacher_specs(entry, raw, data, process)]
    own = own_methods(items(raw, "methods"))
    tuning = _tuning(raw, [teacher.name for teacher in teachers], recipe, shape, own)
    if not isinstance(raw["dry_run"], bool):
        raise ValueError(f"dry_run must be true or false but got {raw['dry_run']!r}")
    pack = mapping(raw, "pack")
    require_keys("pack", pack, _OF_PACKS)
    methods = tuple(make_study_method(entry, recipe, shape, own) for entry in items(raw, "methods"))
    assistants = {method.assistant for method in methods if method.assistant}
    first_seed = teacher_seeds(raw)[0]
    config = StudyConfig(
        study=raw["study"],
        study_dir=location("study_dir", require_text("study_dir", raw.get("study_dir"), "a path")),
        data=data,
        process=process,
        student=make_student_spec(raw, data, process),
        teachers=tuple(teacher for teacher in teachers if tuning is None or teacher.name in tuning.teachers),
        methods=methods,
        own_methods=own,
        assistants={name: make_teacher_spec(name, raw, data, process, seed=first_seed) for name in assistants},
        recipe=recipe,
        seeds=tuple(items(raw, "seeds")),
        train=_train(raw, "train"),
        evaluation=evaluation,
        tuning=tuning,
        max_members=pack["max_members"],
        checkpoint_every_minutes=pack["checkpoint_every_minutes"],
        execution=make(Execution, "pack", {key: value for key, value in pack.items() if key not in _OF_PACKS}),
        report=make(ReportSettings, "report", mapping(raw, "report")),
        max_device_hours=raw["max_device_hours"],
        cluster=make(ClusterConfig, "cluster", mapping(raw, "cluster")),
        teachers_first=_teachers_first(raw["teachers_first"]),
        loggers=_loggers(raw["loggers"]),
    )
    require_place(config.loggers, config.study_dir)
    _require_readable(_measured(data, shape, str(mapping(raw, "data").get("source"))), evaluation)
    if is_new and not isinstance(data, Planned):  # refused now, not after the first pack
        check_extractor(evaluation, data, fetch=not raw["dry_run"])
    return config


def _measured(data: DataSpec, shape: DataShape, source: str) -> DataShape | None:
    """Of the images that are measured, where they are known: latents are decoded."""
    if isinstance(data, Planned):
        return None if source == "latents" else shape
    images = load_data(data)
    if images.decoder is None:
        return shape
    return None if images.references is None else images.references.shape


def _require_readable(measured: DataShape | None, evaluation: EvaluationSpec) -> None:
    side = IMAGE_SIDES.get(evaluation.feature_extractor)
    if measured is None or side is None:
        return
    size = evaluation.image_size
    height, width = (size, size) if size is not None else measured.image[1:]
    if (height, width) != (side, side):
        raise ValueError(
            f"evaluation.feature_extractor={evaluation.feature_extractor} reads images of {side}x{side}, but those that"
            f" are measured are {height}x{width}; allowed: own-v1, inception, or evaluation.image_size={side}"
        )


def write_study_yaml(cfg: DictConfig, study_dir: Path, command: str = "python -m study.sweep") -> None:
    """Writes the resolved config as study.yaml, for people, study.status and study.report; no sweep reads it back.

    Its first line is a comment: the command that made it.
    """
    with new_file(study_dir / "study.yaml") as file:
        file.write(f"# {' '.join(command.split())}\n{yaml.safe_dump(plain(cfg), sort_keys=False)}".encode())


def read_study_yaml(study_dir: Path, *, plugins: bool = False) -> StudyConfig:
    """The study whose study.yaml is in the directory, wherever that is now; for study.status alone.

    plugins: whether code that it names may be imported: a file of a study is no word of the user's.
    Raises ValueError naming study_dir where there is none, or where it is of another version.
    """
    require_study(study_dir)
    try:
        raw = yaml.safe_load((study_dir / "study.yaml").read_text())
        if not isinstance(raw, dict):
            raise TypeError("it does not hold a config")
        cfg = OmegaConf.create(
            {**raw, "study_dir": str(study_dir), "loggers": [], "dry_run": True}
        )  # reads no other file
    except (OSError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{study_dir / 'study.yaml'} cannot be read: {one_line(error)}") from error
    with nullcontext() if plugins else not_from(str(study_dir / "study.yaml")):
        return study_config(cfg, is_new=False)


def _train(raw: Raw, key: str) -> TrainSpec:
    return make(TrainSpec, key, mapping(raw, key), key=key)


def _tuning(
    raw: Raw, teachers: list[str], recipe: Raw, shape: DataShape, own: Mapping[str, Method]
) -> TuningConfig | None:
    """None for protocol=grid."""
    protocol = mapping(raw, "protocol")
    require_choice("protocol.name", protocol.get("name"), ("grid", "search", "tuned"))
    check_keys(f"protocol={protocol['name']}", protocol, ["name", *(KEYS if protocol["name"] != "grid" else [])])
    if protocol["name"] == "grid":
        return None
    return make_tuning(
        protocol, raw["search_space"], recipe=recipe, teachers=teachers, num_elements=shape.num_elements, own=own
    )


def _teachers_first(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"teachers_first must be a list of names of teachers but got {value!r}")
    return tuple(value)


def _loggers(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"loggers must be a list among {', '.join(LOGGERS)} but got {value!r}")
    require_loggers(value)
    return tuple(dict.fromkeys(value))

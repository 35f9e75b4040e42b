"""The plan of the last sweep: study.yaml as it was checked. With it study.status needs no torch.

    <study_dir>/plan.json   {"study_yaml": sha256, "shape": ..., "sizes": {...}, "config": {...}}

What it says is of one study.yaml, whose digest it holds: beside another one it is nothing, and study.yaml is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution

from analysis.results.settings import ReportSettings
from search_spaces import Parameter, Space
from storage import file_digest, new_file
from study.config.study import ClusterConfig, StudyConfig
from study.config.tuning import EarlyStopping, SequentialSeeds, TuningConfig
from study.planning.members import plan_teachers
from trainables.data import SOURCES, DataShape, data_shape, know_shape
from trainables.losses.methods import Method
from trainables.models.sizes import Size, counted, know
from trainables.plugins import is_path
from trainables.process import Process
from trainables.protocol import EvaluationSpec
from trainables.specs import ModelSpec, Pretrained, PrunedSpec, TeacherSpec, TrainSpec
from trainables.training.execution import Execution

NAME = "plan.json"
_CLASSES: dict[str, Any] = {
    one.__name__: one
    for one in (
        *(StudyConfig, ClusterConfig, Execution, ReportSettings, Process, EvaluationSpec, Method, TrainSpec),
        *(ModelSpec, PrunedSpec, Pretrained, TeacherSpec, TuningConfig, EarlyStopping, SequentialSeeds, Space),
        *(Parameter, DataShape, *SOURCES.values()),
    )
}


def write_plan(config: StudyConfig) -> None:
    """Writes the plan beside study.yaml; none where the study names code of the user's, which only a word of the user's
    may import.
    """
    config = replace(config, loggers=())  # as study.status reads study.yaml
    shape = data_shape(config.data)
    models = [spec.model for spec in (*plan_teachers(config), *config.assistants.values())]
    sizes = counted([config.student, *models], shape)
    content = {
        "study_yaml": file_digest(config.study_dir / "study.yaml"),
        "shape": _encoded(shape),
        "sizes": {key: [size.params, size.macs] for key, size in sizes.items()},
    }
    with suppress(TypeError):  # what has no place in it is read from study.yaml
        content["config"] = _encoded(replace(config, study_dir=Path()))  # wherever it is, in a store too
        if _decoded(json.loads(json.dumps(content["config"])), config.study_dir) == config:
            with new_file(config.study_dir / NAME) as file:
                file.write(json.dumps(content).encode())


def read_plan(study_dir: Path) -> StudyConfig | None:
    """The study as `write_plan` wrote it, wherever it is now; None where there is no plan of this study.yaml, or one
    that this version does not read.

    The shape of its data and the sizes of its models are known from then on, and need not be found out.
    """
    try:
        content = json.loads((study_dir / NAME).read_bytes())
        if content["study_yaml"] != file_digest(study_dir / "study.yaml"):
            return None
        config = _decoded(content["config"], study_dir)
        shape = _decoded(content["shape"], study_dir)
        sizes = {str(key): Size(int(params), int(macs)) for key, (params, macs) in content["sizes"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if not isinstance(config, StudyConfig) or not isinstance(shape, DataShape):
        return None
    know_shape(config.data, shape)
    know(sizes)
    return config


def _encoded(value: Any) -> Any:
    """As JSON; what is no list, number, text or null is {"is": its kind, "has": its content}. Raises TypeError."""
    if isinstance(value, str) and is_path(value):
        raise TypeError(f"a plan names no code, but got {value}")
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list):
        return [_encoded(inner) for inner in value]
    kind, content = _taken_apart(value)
    return {"is": kind, "has": content}


def _taken_apart(value: Any) -> tuple[str, Any]:
    if isinstance(value, BaseDistribution):
        return "distribution", distribution_to_json(value)
    if isinstance(value, Path):
        return "study_dir", None  # the only one: other paths are text
    if isinstance(value, tuple):
        return "tuple", [_encoded(inner) for inner in value]
    if isinstance(value, Mapping):
        return "mapping", {key: _encoded(inner) for key, inner in value.items()}
    name = type(value).__name__
    if _CLASSES.get(name) is not type(value) or getattr(value, "code", None):
        raise TypeError(f"a plan holds no {name}")
    return name, {one.name: _encoded(getattr(value, one.name)) for one in fields(value) if one.init}


def _decoded(value: Any, study_dir: Path) -> Any:
    if isinstance(value, list):
        return [_decoded(inner, study_dir) for inner in value]
    if not isinstance(value, dict):
        return value
    kind, content = value["is"], value["has"]
    if kind == "distribution":
        return json_to_distribution(content)
    if kind == "study_dir":
        return study_dir
    if kind == "tuple":
        return tuple(_decoded(inner, study_dir) for inner in content)
    inner = {str(name): _decoded(one, study_dir) for name, one in content.items()}
    return inner if kind == "mapping" else _CLASSES[kind](**inner)

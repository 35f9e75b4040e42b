"""The checks of a composed config that need neither torch nor the data: what is wrong is said within a second or two.

`study_config` makes the same dataclasses again, and then checks what only models and data can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from analysis.results.settings import ReportSettings
from storage import location
from study.config.command_line import plain
from study.config.data import missing_data, without
from study.config.options import option_config, option_names
from study.config.study import ClusterConfig, require_name
from study.loggers.table import require_loggers
from trainables.checks import Raw, check_keys, items, make, mapping, meant, require_choice, require_text, require_whole
from trainables.losses.methods import METHODS
from trainables.process import Process
from trainables.protocol import EvaluationSpec
from trainables.specs import TrainSpec

GROUPS = ["data", "process", "student", "train", "teacher_train", "method", "protocol", "evaluation", "cluster"]


def check_early(cfg: DictConfig) -> None:
    """Raises ValueError naming the key, the value and what is allowed."""
    raw = plain(without(cfg, missing_data(cfg)))
    check_keys("the config", raw, list(option_config(".", "config"))[1:] + GROUPS)
    require_name("study", raw["study"])
    location("study_dir", require_text("study_dir", raw.get("study_dir"), "a path"))
    process = make(Process, "process", mapping(raw, "process"))
    evaluation = make(EvaluationSpec, "evaluation", mapping(raw, "evaluation"))
    process.require_sampler(evaluation.sampler)
    train = make(TrainSpec, "train", mapping(raw, "train"), key="train")
    make(TrainSpec, "teacher_train", mapping(raw, "teacher_train"), key="teacher_train")
    make(ReportSettings, "report", mapping(raw, "report"))
    cluster = make(ClusterConfig, "cluster", mapping(raw, "cluster"))
    if train.batch_size % cluster.num_workers:
        raise ValueError(
            f"train.batch_size must be a multiple of cluster.num_workers ({cluster.num_workers})"
            f" but got {train.batch_size}"
        )
    require_choice("protocol.name", mapping(raw, "protocol").get("name"), ("grid", "search", "tuned"))
    _check_lists(raw)


def _check_lists(raw: Raw) -> None:
    for key in ("seeds", "teacher_seeds"):
        for seed in items(raw, key):
            require_whole(key, seed, 0)
    entries = [entry if isinstance(entry, Mapping) else {"method": entry} for entry in items(raw, "methods")]
    defined = [entry.get("method") for entry in entries if "output" in entry or "feature" in entry]
    for entry in entries:
        _require_known("methods", entry.get("method"), [*METHODS, *map(str, defined)])
    for entry in items(raw, "teachers"):
        if not isinstance(entry, Mapping):
            _require_known("teachers", entry, option_names("teacher"))
    if isinstance(raw["loggers"], list):
        require_loggers(raw["loggers"])


def _require_known(key: str, name: Any, known: list[str]) -> None:
    """Of names alone: a path (module:name) and an entry point of an installed package are looked up later."""
    if isinstance(name, str) and ":" not in name and name not in known and (near := meant(name, known)):
        raise ValueError(f"{key} must be among {', '.join(known)} but got {name!r}{near}")

"""The checks of a composed config that need neither torch nor the data: what is wrong is said within a second or two.

`study_config` makes the same dataclasses again, and then checks what only models and data can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
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
from trainables.data.planned import planned_shape
from trainables.losses.methods import METHODS
from trainables.plugins import installed
from trainables.process import Process
from trainables.protocol import EvaluationSpec
from trainables.specs import TrainSpec

GROUPS = ["data", "process", "student", "train", "teacher_train", "method", "protocol", "evaluation", "cluster"]

_DATA_FOLDERS = {
    "folder": "a folder of images",
    "huggingface": "a folder that save_to_disk of the datasets package wrote",
    "latents": "a folder that study.latents made",
}


def check_early(cfg: DictConfig) -> None:
    """Raises ValueError naming the key, the value and what is allowed."""
    missing = missing_data(cfg)
    raw = plain(without(cfg, missing))
    check_keys("the config", raw, list(option_config(".", "config"))[1:] + GROUPS)
    require_name("study", raw["study"])
    location("study_dir", require_text("study_dir", raw.get("study_dir"), "a path"))
    process = make(Process, "process", mapping(raw, "process"))
    evaluation = make(EvaluationSpec, "evaluation", mapping(raw, "evaluation"))
    process.require_sampler(evaluation.sampler)
    train = make(TrainSpec, "train", mapping(raw, "train"), key="train")
    for key in ("extractor_weights", "reference"):
        if (path := getattr(evaluation, key)) is not None and not Path(path).exists():
            raise ValueError(f"evaluation.{key} must be null or what is there but got {path}")
    make(TrainSpec, "teacher_train", mapping(raw, "teacher_train"), key="teacher_train")
    make(ReportSettings, "report", mapping(raw, "report"))
    cluster = make(ClusterConfig, "cluster", mapping(raw, "cluster"))
    if train.batch_size % cluster.num_workers:
        raise ValueError(
            f"train.batch_size must be a multiple of cluster.num_workers ({cluster.num_workers})"
            f" but got {train.batch_size}"
        )
    require_choice("protocol.name", mapping(raw, "protocol").get("name"), ("grid", "search", "tuned"))
    _check_space(raw)
    _check_lists(raw)
    _check_data(mapping(raw, "data"), missing)


def _check_lists(raw: Raw) -> None:
    for key in ("seeds", "teacher_seeds"):
        for seed in items(raw, key):
            require_whole(key, seed, 0)
    entries = [entry if isinstance(entry, Mapping) else {"method": entry} for entry in items(raw, "methods")]
    defined = [entry.get("method") for entry in entries if "output" in entry or "feature" in entry]
    for entry in entries:
        known = [*METHODS, *map(str, defined), *installed("methods")]
        _require_known("methods", entry.get("method"), known, "{method: mine, output: module:name} is one of your own")
    teachers = items(raw, "teachers")
    named = [str(entry.get("name")) for entry in teachers if isinstance(entry, Mapping)]
    for entry in teachers:
        if not isinstance(entry, Mapping):
            _require_known("teachers", entry, [*option_names("teacher"), *named], "{folder: PATH} is one of your own")
        elif isinstance(entry.get("folder"), str) and not Path(entry["folder"]).is_dir():
            raise ValueError(f"teachers.folder must be a diffusers directory but got {entry['folder']}")
    if isinstance(raw["loggers"], list):
        require_loggers(raw["loggers"])


def _require_known(key: str, name: Any, known: list[str], others: str) -> None:
    """A path (module:name) is looked up later. others: what is said where no name is meant."""
    if isinstance(name, str) and ":" not in name and name not in known:
        near = meant(name, known) or f"; {others}"
        raise ValueError(f"{key} must be among {', '.join(known)} but got {name!r}{near}")


def _check_data(settings: Raw, missing: Sequence[str]) -> None:
    """That what is named is there, and that what is not named can be planned with."""
    if missing:
        planned_shape(settings)
        return
    path, what = settings.get("path"), _DATA_FOLDERS.get(str(settings.get("source")))
    if isinstance(path, str) and what is not None and not Path(path).is_dir():
        raise ValueError(f"data.path must be {what} but got {path}")


def _check_space(raw: Raw) -> None:
    """That the search spaces of a search are there and can be read."""
    if mapping(raw, "protocol")["name"] == "grid":
        return
    from search_spaces.reader import read_space

    found = raw.get("search_space")
    for name in found.values() if isinstance(found, Mapping) else (found, raw["protocol"].get("shared_space")):
        if isinstance(name, str):
            read_space(name)

"""Which loggers there are, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from storage import is_local
from trainables import plugins

LOGGERS = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}  # and the module that it needs


class Logger(Protocol):
    """Writes finished members of a study."""

    def written(self) -> set[str]:
        """The run_ids that it holds whole; what was begun and not ended is removed."""

    def write(self, row: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> None:
        """Writes one member: its row of the records, and its curve."""


def require_loggers(names: Sequence[Any]) -> None:
    """Raises ValueError for an unknown logger, and for one whose package is not installed."""
    for name in names:
        path = plugins.path_of("loggers", "loggers", name, tuple(LOGGERS))
        if plugins.is_path(path):
            plugins.load("loggers", path)
        elif find_spec(LOGGERS[name]) is None:
            raise ValueError(
                f"loggers={name} needs the package {LOGGERS[name]}, which is not installed:"
                f" pip install 'kd-stability-study[{name}]'"
            )


def require_place(names: Sequence[str], study_dir: Path) -> None:
    """Raises ValueError for a logger that cannot write where the study lies."""
    if "mlflow" in names and not is_local(study_dir):
        raise ValueError(f"loggers=mlflow needs a study_dir on a file system but got {study_dir}")


def open_logger(name: str, study: str, study_dir: Path) -> Logger:
    """The logger of a name of LOGGERS, writing to <study_dir>/loggers/<name>; one of a user's, module:name, is a
    function (study, folder) that returns a Logger.
    """
    path = plugins.path_of("loggers", "loggers", name, tuple(LOGGERS))
    folder = study_dir.absolute() / "loggers" / name.replace(":", ".")
    if plugins.is_path(path):
        own: Logger = plugins.load("loggers", path)(study, folder)
        return own
    logger: Logger = import_module(f"study.loggers.{name}").open_logger(study, folder)
    return logger

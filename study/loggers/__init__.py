"""Finished members in other people's tools, written from the records: loggers=[tensorboard,wandb,mlflow].

A logger writes a member when its row is there, so what it shows is what the records say, whether it was written beside
the sweep or long after it; the same command again writes what is missing. Each is an optional dependency.
"""

from study.loggers.export import exporting
from study.loggers.table import LOGGERS, require_loggers

__all__ = ["LOGGERS", "exporting", "require_loggers"]

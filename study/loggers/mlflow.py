"""MLflow's file store. MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri <study_dir>/loggers/mlflow"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from study.loggers.content import Row, points, results, run_name, settings, time_of

# Read when MLflow is imported: it wants to be asked for its file store, and tells home of its use.
os.environ |= {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

_TAG = "kd.run_id"
_BATCH = 1000  # metrics that MLflow takes at once


@dataclass(frozen=True)
class MlflowLogger:
    """A member is a run of the study's experiment: its curve and its row are metrics, its settings parameters."""

    study: str
    folder: Path
    _opened: list[tuple[Any, str]] = field(default_factory=list)  # client and id of the experiment

    def written(self) -> set[str]:
        client, experiment = self._open()
        found, token = set(), None
        while True:
            page = client.search_runs([experiment], max_results=1000, page_token=token)
            for run in page:
                if run.info.status == "FINISHED":
                    found.add(run.data.tags[_TAG])
                else:
                    client.delete_run(run.info.run_id)
            token = page.token
            if not token:
                return found

    def write(self, row: Row, curve: Sequence[Row]) -> None:
        client, experiment = self._open()
        tags = {_TAG: row["run_id"], "mlflow.runName": run_name(row)}
        run = client.create_run(experiment, start_time=_milliseconds(time_of(row, 0)), tags=tags)
        metrics = [
            Metric(name, value, _milliseconds(time_of(row, step)), step)
            for step, values in points(curve)
            for name, value in values.items()
        ]
        end = _milliseconds(time_of(row, row["steps"]))
        metrics += [Metric(f"result.{name}", value, end, row["steps"]) for name, value in results(row).items()]
        params = [Param(name, str(value)) for name, value in settings(row).items()]
        client.log_batch(run.info.run_id, params=params)
        for start in range(0, len(metrics), _BATCH):
            client.log_batch(run.info.run_id, metrics=metrics[start : start + _BATCH])
        client.set_terminated(run.info.run_id, end_time=end)

    def _open(self) -> tuple[Any, str]:
        if not self._opened:
            client = MlflowClient(tracking_uri=self.folder.as_uri())
            known = client.get_experiment_by_name(self.study)
            experiment = known.experiment_id if known else client.create_experiment(self.study)
            self._opened.append((client, experiment))
        return self._opened[0]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def open_logger(study: str, folder: Path) -> MlflowLogger:
    return MlflowLogger(study, folder)

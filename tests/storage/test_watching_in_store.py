"""A study is watched wherever it lies: its status, its logs, its loggers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analysis.records.rows import RUN_SCHEMA, write_run
from analysis.status.status import RUNNING
from storage import is_local
from storage.changes import made_folders
from study import status
from study.config.command_line import compose
from study.config.parse import study_config, write_study_yaml
from study.directory.claim import claim
from study.directory.layout import checkpoints_dir
from study.directory.lease import lease
from study.loggers import exporting
from study.loggers.table import open_logger, require_place
from study.planning.members import plan_members
from study.watching.events import EventLog, log_dir, read_events
from study.watching.find_status import find_status, planned_study
from study.watching.progress import ProgressFiles

OVERRIDES = ("teachers=[unet_16]", "methods=[out_kd]", "seeds=[0,1]", "train.steps=200")


def row(run_id: str) -> dict[str, Any]:
    kinds = {"string": "text", "int32": 1, "int64": 200, "double": 1.0, "bool": False}
    found = {field.name: kinds[str(field.type)] for field in RUN_SCHEMA if not field.nullable}
    del found["schema_version"]
    found |= {"run_id": run_id, "status": "ok", "phase": "grid", "method": "out_kd", "teacher": "unet_16"}
    return found | {"fid": 40.0, "device_seconds": 10.0, "finished_at": datetime.now(UTC), "started_at": None}


def test_a_study_is_watched_where_it_lies(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = compose("config", [f"study_dir={place}", *OVERRIDES])
    made_folders(place)
    claim(place)
    write_study_yaml(cfg, place)
    first, second = plan_members(study_config(cfg))
    log = EventLog(log_dir(place), "worker")
    with lease(place, beat_seconds=0.2):
        log("sweep_started")
        log("pack_started", pack_id="0" * 16, teacher="unet_16", seeds=[1], steps=200, run_ids=[second.run_id])
        write_run(place, row(first.run_id))
        ProgressFiles(checkpoints_dir(place))("0" * 16, 150, [second.run_id])
        seen = find_status(planned_study(place))
        assert status.main([f"study_dir={place}"]) == 0
    assert (seen.state, seen.finished, seen.count["running"]) == (RUNNING, 1, 1)
    assert [pack.steps for pack in seen.running] == [150]
    assert [event["event"] for event in read_events(place)] == ["sweep_started", "pack_started"]
    assert "1 of 2 finished" in capsys.readouterr().out
    assert "1 of 2 finished" in (place / "report" / "status.html").read_text()


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_loggers_write_where_the_study_lies(name: str, place: Path) -> None:
    pytest.importorskip({"tensorboard": "tensorboardX"}.get(name, name))
    for run_id in ("0" * 16, "1" * 16):
        write_run(place, row(run_id), [{"step": 0, "loss": 1.0}])
        with exporting([name], "digits", place):
            pass
    assert open_logger(name, "digits", place).written() == {"0" * 16, "1" * 16}


def test_the_file_store_of_mlflow_is_for_file_systems(place: Path) -> None:
    if is_local(place):
        require_place(["mlflow"], place)
        return
    with pytest.raises(ValueError, match="loggers=mlflow needs a study_dir on a file system but got s3://"):
        require_place(["mlflow"], place)

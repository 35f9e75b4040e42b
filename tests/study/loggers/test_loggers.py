"""What loggers show is what the records say, beside a sweep or after it, once for every member."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_record import make_record

from analysis.records.rows import write_run
from study.config.command_line import compose
from study.config.parse import study_config
from study.loggers import LOGGERS, exporting
from study.loggers import table as table_module
from study.loggers.table import open_logger

RUN_IDS = ("0" * 16, "1" * 16)
CURVE = [
    {"step": 0, "loss": 8.0, "loss_diff": 3.0, "gate": 0.0},
    {"step": 5, "loss": 2.5, "loss_diff": 1.5, "gate": 0.25},
    {"step": 5, "fid": 120.0},  # measured on the way
    {"step": 9, "loss": 2.0, "loss_diff": float("nan"), "gate": 0.5},
]
EXPECTED = {
    "loss": [(0, 8.0), (5, 2.5), (9, 2.0)],
    "loss_diff": [(0, 3.0), (5, 1.5)],
    "gate": [(0, 0.0), (5, 0.25), (9, 0.5)],
    "fid": [(5, 120.0)],
}
Shown = dict[str, tuple[dict[str, list[tuple[int, float]]], dict[str, float]]]  # curves and results by run_id


def needs(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.skipif(find_spec(LOGGERS[name]) is None, reason=f"needs {name}"))


def finish(study_dir: Path, run_id: str) -> None:
    end = datetime(2026, 1, 31, 12, tzinfo=UTC)
    row = make_record(run_id) | {"method": "../../lift", "teacher": "unet_16", "steps": 10, "fid": 40.5, "lr": 0.002}
    write_run(study_dir, row | {"started_at": end - timedelta(minutes=1), "finished_at": end}, CURVE)


def shown_by_tensorboard(folder: Path) -> Shown:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = {}
    for path in folder.iterdir():
        events = EventAccumulator(str(path)).Reload()
        scalars = {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        curves = {tag.removeprefix("curve/"): values for tag, values in scalars.items() if tag.startswith("curve/")}
        results = {tag.removeprefix("result/"): values[0][1] for tag, values in scalars.items() if "result/" in tag}
        shown[path.name.rpartition("-")[2]] = (curves, results)
        (text,) = events.Tensors("member/text_summary")
        assert b"| lr | `0.002` |" in text.tensor_proto.string_val[0]
        assert events.Scalars("curve/loss")[1].wall_time == datetime(2026, 1, 31, 11, 59, 30, tzinfo=UTC).timestamp()
    return shown


def log_records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after 7 bytes of header."""
    position, parts = 7, b""
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def shown_by_wandb(folder: Path) -> Shown:
    from wandb.proto.wandb_internal_pb2 import Record

    shown = {}
    for path in folder.glob("*/wandb/offline-run-*/run-*.wandb"):
        curves: dict[str, list[tuple[int, float]]] = {}
        results: dict[str, float] = {}
        for data in log_records(path.read_bytes()):
            record = Record.FromString(data)
            if record.HasField("run"):
                assert (record.run.project, record.run.run_id) == ("digits", path.stem.removeprefix("run-"))
                config = {one.key: json.loads(one.value_json) for one in record.run.config.update}
                assert config["lr"] == 0.002
            items = {"/".join(one.nested_key) or one.key: json.loads(one.value_json) for one in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    curves.setdefault(name, []).append((items["_step"], value))
            for one in record.summary.update:
                results["/".join(one.nested_key) or one.key] = json.loads(one.value_json)
        shown[path.stem.removeprefix("run-")] = (curves, results)
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    return shown


def shown_by_mlflow(folder: Path) -> Shown:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=folder.as_uri())
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    shown = {}
    for run in client.search_runs([experiment.experiment_id]):
        assert (run.info.status, run.data.params["lr"]) == ("FINISHED", "0.002")
        history = {
            name: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        curves = {name: values for name, values in history.items() if not name.startswith("result.")}
        results = {name.removeprefix("result."): values[0][1] for name, values in history.items() if "result." in name}
        shown[run.data.tags["kd.run_id"]] = (curves, results)
    return shown


READERS = {"tensorboard": shown_by_tensorboard, "wandb": shown_by_wandb, "mlflow": shown_by_mlflow}


@pytest.mark.parametrize("name", [needs(name) for name in LOGGERS])
def test_every_member_is_shown_once_and_as_in_the_records(name: str, tmp_path: Path) -> None:
    finish(tmp_path, RUN_IDS[0])
    with exporting([name], "digits", tmp_path):  # beside a sweep
        finish(tmp_path, RUN_IDS[1])
    with exporting([name], "digits", tmp_path):  # the same command again
        pass
    shown = READERS[name](tmp_path / "loggers" / name)
    assert set(shown) == set(RUN_IDS)
    for curves, results in shown.values():
        assert curves == EXPECTED
        assert results["fid"] == 40.5
    assert open_logger(name, "digits", tmp_path).written() == set(RUN_IDS)
    assert {path.name for path in tmp_path.iterdir()} == {"records", "loggers"}


def test_an_agent_of_a_sweep_changes_no_run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "other")
    finish(tmp_path, "0123456789abcdef")
    with exporting(["wandb"], "digits", tmp_path):
        pass
    assert set(shown_by_wandb(tmp_path / "loggers" / "wandb")) == {"0123456789abcdef"}  # and of this project
    assert os.environ["WANDB_SWEEP_ID"] == "other"


def test_a_logger_that_fails_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("study.loggers.export.open_logger", broken)
    finish(tmp_path, RUN_IDS[0])
    with exporting(["tensorboard"], "digits", tmp_path):
        pass
    error = capsys.readouterr().err
    assert error.startswith("warning: logger tensorboard failed and is left out: OSError: no room;")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("loggers=[tensorbord]", "loggers must be one of tensorboard, wandb, mlflow but got 'tensorbord'"),
        ("loggers=wandb", "loggers must be a list among tensorboard, wandb, mlflow but got 'wandb'"),
        ("loggers=[wandb]", "loggers=wandb needs the package wandb, which is not installed: pip install"),
    ],
)
def test_what_cannot_be_is_refused(override: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=expected.replace("[", r"\[")):
        study_config(compose("config", ["teachers=[unet_16]", override]))


def test_no_logger_is_imported_unless_it_is_asked_for() -> None:
    code = "import sys, study.loggers; print(*({'wandb', 'mlflow', 'tensorboardX'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.split() == []

"""What killed processes left is removed when a sweep starts; what somebody needs stays."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tiny_record import make_record

from analysis.records.rows import write_run
from study.directory.layout import checkpoints_dir, ray_dir
from study.directory.repair import remove_orphans
from trainables.ranks import Ranks
from trainables.training.checkpoints import Checkpoints, snapshot


def keep_state(study_dir: Path, pack_id: str, *run_ids: str) -> Path:
    """A checkpoint of members that are only as real as they must be."""
    trainees: list[Any] = [
        SimpleNamespace(
            member=SimpleNamespace(train_id=run_id, run_id=run_id, train=SimpleNamespace(steps=9)),
            device=torch.device("cpu"),
            fused=False,
            tensors=lambda: {"parameters": torch.zeros(3)},
            marks=lambda: {"curve": []},
        )
        for run_id in run_ids
    ]
    folder = checkpoints_dir(study_dir) / pack_id
    Checkpoints(folder, 0).keep(snapshot(trainees, [], dict.fromkeys(run_ids, 0.0), steps=1, ranks=Ranks()))
    return folder


def test_only_the_state_of_unfinished_packs_stays(tmp_path: Path) -> None:
    done, open_, teacher = "a" * 16, "b" * 16, "c" * 16
    write_run(tmp_path, make_record(done))
    kept = [keep_state(tmp_path, "1" * 16, done, open_), keep_state(tmp_path, "2" * 16, teacher)]
    keep_state(tmp_path, "3" * 16, done)
    keep_state(tmp_path, "4" * 16, teacher)
    (tmp_path / "teachers" / ("4" * 16)).mkdir(parents=True)
    (checkpoints_dir(tmp_path) / ("5" * 16)).mkdir()
    ray_dir(tmp_path).mkdir()
    (ray_dir(tmp_path) / "snapshot.json").write_text(json.dumps({}))
    remove_orphans(tmp_path)
    assert sorted(checkpoints_dir(tmp_path).iterdir()) == sorted(kept)


def test_no_temporary_stays(tmp_path: Path) -> None:
    write_run(tmp_path, make_record())
    kept = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for folder in (".", "records/runs", "records/curves", "students", f"teachers/{'0' * 16}", "samples", "reference"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / ".file.0a1b2c3d.tmp").write_text("half")
    (tmp_path / "students" / ".0123.0a1b2c3d.tmp").mkdir()
    (tmp_path / "students" / ".0123.0a1b2c3d.tmp" / "config.json").write_text("{")
    remove_orphans(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == kept
    assert not list((tmp_path / "students").iterdir())


def test_a_study_that_is_not_there_is_left_alone(tmp_path: Path) -> None:
    remove_orphans(tmp_path / "study")
    assert not (tmp_path / "study").exists()

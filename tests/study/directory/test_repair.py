"""Whatever is damaged in a study directory is named, set aside, and missing afterwards, so that the sweep redoes it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from smallest_model import SMALLEST

from analysis.records.rows import RUN_SCHEMA, curves_dir, finished_run_ids, runs_dir, write_run
from storage import SEAL
from study.directory.claim import claim
from study.directory.repair import describe_missing, set_aside_damaged
from trainables.data import DataShape
from trainables.evaluation.fidelity import reference_of
from trainables.evaluation.real_images import save_grid, save_halves
from trainables.evaluation.reference_file import save_reference, sealed_tensors
from trainables.evaluation.sealed_files import write_npz, write_png
from trainables.models import build_model
from trainables.models.digest import weights_digest
from trainables.models.saved import TrainedStudent, save_model, save_student
from trainables.process import PIXEL

RUN_ID, TRAIN_ID, TEACHER_ID = "a" * 16, "b" * 16, "c" * 16
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def study_dir(tmp_path: Path) -> Path:
    """A study of one member, with all that is kept of it."""
    claim(tmp_path)
    model = build_model(SMALLEST, DataShape(image=(1, 8, 8)), seed=0)
    digest = weights_digest(model)
    save_student(TrainedStudent(TRAIN_ID, model, digest, [], 1.0, None), tmp_path / "students" / TRAIN_ID, PIXEL)
    facts = {"digest": digest, "evaluations": {}}
    save_model(model, tmp_path / "teachers" / TEACHER_ID, "teacher.json", facts, PIXEL)
    reference = reference_of([torch.randn(8, 4)], 8)
    save_reference(tmp_path / "reference" / "r.safetensors", reference)
    save_halves(tmp_path / "reference" / "r.json", {"data": "digits"}, reference.features)
    for path in (tmp_path / "reference" / "r.png", tmp_path / "teachers" / TEACHER_ID / "samples.png"):
        drawn = torch.Generator().manual_seed(0)  # a flipped bit of some PNGs changes no pixel
        save_grid(path, torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=drawn))
    kinds = {"string": "text", "int32": 1, "int64": 1, "double": 1.0, "bool": False}
    row: dict[str, Any] = {field.name: kinds[str(field.type)] for field in RUN_SCHEMA if not field.nullable}
    del row["schema_version"]
    row |= {"run_id": RUN_ID, "train_id": TRAIN_ID, "status": "ok", "phase": "grid"}
    write_run(tmp_path, row, [{"step": 0, "loss": 1.0}])
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    write_png(tmp_path / "samples" / f"{RUN_ID}.png", pixels)
    write_npz(tmp_path / "samples" / f"{RUN_ID}.npz", {"squared_error": np.arange(64.0)})
    (tmp_path / "study.yaml").write_text("study: x\nreport: {}\n")
    return tmp_path


def files(study_dir: Path) -> set[str]:
    return {str(path.relative_to(study_dir)) for path in study_dir.rglob("*") if path.is_file()}


def test_nothing_is_moved_where_nothing_is_damaged(study_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(study_dir)
    set_aside_damaged(study_dir)
    assert files(study_dir) == before
    assert capsys.readouterr().err == ""


def empty(content: bytes) -> bytes:
    return b""


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


def foreign(content: bytes) -> bytes:
    return b"another program's"


ROW = f"records/runs/{RUN_ID}.parquet"
CASES = [  # the file that is damaged, what is moved with it
    (ROW, [ROW]),
    (f"records/curves/{RUN_ID}.parquet", [f"records/curves/{RUN_ID}.parquet", ROW]),
    (f"samples/{RUN_ID}.png", [f"samples/{RUN_ID}.png", ROW]),
    (f"samples/{RUN_ID}.npz", [f"samples/{RUN_ID}.npz", ROW]),
    (f"teachers/{TEACHER_ID}/{WEIGHTS}", [f"teachers/{TEACHER_ID}"]),
    ("reference/r.safetensors", ["reference/r.safetensors"]),
    ("reference/r.png", ["reference/r.png"]),
    ("reference/r.json", ["reference/r.json"]),
    (f"teachers/{TEACHER_ID}/samples.png", [f"teachers/{TEACHER_ID}/samples.png"]),
]
JSON_CASES = [
    (f"teachers/{TEACHER_ID}/unet/config.json", [f"teachers/{TEACHER_ID}"]),
    (f"teachers/{TEACHER_ID}/teacher.json", [f"teachers/{TEACHER_ID}"]),
    ("study.yaml", ["study.yaml"]),
]
ALL = [(*case, damage) for case in CASES for damage in (empty, cut, flip, foreign)]
ALL += [(*case, damage) for case in JSON_CASES for damage in (empty, foreign)]


@pytest.mark.parametrize(("name", "moved", "damage"), ALL)
def test_damage_is_named_and_set_aside(
    name: str,
    moved: list[str],
    damage: Callable[[bytes], bytes],
    study_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = study_dir / name
    path.write_bytes(damage(path.read_bytes()))
    before = files(study_dir)
    set_aside_damaged(study_dir)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(moved)
    for place, line in zip(moved, lines, strict=True):
        assert f"damaged, moved to {study_dir / 'damaged' / place}; made again when a member needs it" in line
        assert not (study_dir / place).exists()
    kept = {one.removeprefix("damaged/") for one in files(study_dir)}
    assert kept == before, "nothing is lost"
    set_aside_damaged(study_dir)
    assert capsys.readouterr().err == ""
    assert finished_run_ids(study_dir) == (set() if ROW in moved else {RUN_ID})


def test_damaged_training_state_is_named_and_set_aside(study_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = study_dir / "checkpoints" / ("5" * 16) / "step-00000005"
    checkpoint.mkdir(parents=True)
    (checkpoint / "complete.json").write_text("{}")
    set_aside_damaged(study_dir)
    assert str(checkpoint) in capsys.readouterr().err
    assert (study_dir / "damaged" / "checkpoints" / ("5" * 16) / checkpoint.name / "complete.json").exists()


def test_a_second_damage_of_the_same_name_does_not_replace_the_first(study_dir: Path) -> None:
    for content in (b"first", b"second"):
        (runs_dir(study_dir) / f"{RUN_ID}.parquet").write_bytes(content)
        set_aside_damaged(study_dir)
    aside = study_dir / "damaged" / "records" / "runs"
    assert sorted(path.read_bytes() for path in aside.iterdir()) == [b"first", b"second"]


def test_a_flipped_byte_of_the_features_is_found_or_changes_nothing(study_dir: Path) -> None:
    path = study_dir / "reference" / "r.safetensors"
    content = path.read_bytes()
    original = {name: tensor.clone() for name, tensor in sealed_tensors(path).items()}  # it may be mapped from the file
    for position in range(0, len(content), 3):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x01]) + content[position + 1 :])
        try:
            found = sealed_tensors(path)
        except ValueError:
            continue
        assert found.keys() == original.keys(), position
        assert all(torch.equal(found[name], tensor) for name, tensor in original.items()), position


def test_leftovers_of_a_killed_writer_are_no_damage(study_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (curves_dir(study_dir) / ".x.tmp").write_bytes(b"")
    (study_dir / "students" / ".x.tmp").mkdir()
    set_aside_damaged(study_dir)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_set_aside_where_a_row_would_be(make: Callable[[Path], None], study_dir: Path) -> None:
    for name in ("e" * 16, "bundle-" + "e" * 16):
        make(runs_dir(study_dir) / f"{name}.parquet")
    set_aside_damaged(study_dir)
    assert finished_run_ids(study_dir) == {RUN_ID}


def test_facts_without_a_seal_are_refused(study_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study_dir / "teachers" / TEACHER_ID / "teacher.json"
    facts = json.loads(path.read_text())
    del facts[SEAL]
    path.write_text(json.dumps(facts))
    set_aside_damaged(study_dir)
    assert "it has no seal" in capsys.readouterr().err
    assert not path.exists()


def test_a_teacher_under_the_name_of_another_is_refused(study_dir: Path) -> None:
    (study_dir / "teachers" / TEACHER_ID).rename(study_dir / "teachers" / ("d" * 16))
    set_aside_damaged(study_dir)
    assert not list((study_dir / "teachers").iterdir())


def test_what_was_moved_away_from_finished_rows_is_named(study_dir: Path) -> None:
    assert describe_missing(study_dir) == []
    shutil.rmtree(study_dir / "students" / TRAIN_ID)
    (line,) = describe_missing(study_dir)
    assert line.startswith(f"moved away: 1 of finished rows are not in {study_dir / 'students'}: {TRAIN_ID}")

"""A full disk ends the sweep with a sentence, and leaves nothing that is half; too little room is refused before."""

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from smallest_model import SMALLEST
from tiny_record import make_record

from analysis.records.rows import finished_run_ids, write_run
from storage import full_disk
from study import run, sweep
from study.config.command_line import compose
from study.config.parse import study_config
from study.costs.disk import DiskNeed, estimate_disk, require_disk
from study.costs.model import Counts
from study.directory.lease import lease
from study.execution.record_sink import _write_samples
from study.planning.members import plan_members, plan_packs
from trainables.data import DataShape
from trainables.models import build_model
from trainables.models.digest import weights_digest
from trainables.models.saved import TrainedStudent, save_student
from trainables.process import PIXEL
from trainables.specs import TeacherSpec

Usage = namedtuple("Usage", "total used free")


def no_space(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_row(study_dir: Path) -> None:
    write_run(study_dir, make_record(), [{"step": 0, "loss": 1.0}])


def write_samples(study_dir: Path) -> None:
    samples = torch.zeros((64, 1, 8, 8), dtype=torch.uint8)
    evaluation = SimpleNamespace(samples=samples, error_maps={"squared_error": np.zeros((10, 8, 8))})
    result: Any = SimpleNamespace(evaluation=evaluation, member=SimpleNamespace(run_id="r" * 16))
    _write_samples(result, study_dir / "samples")


def write_student(study_dir: Path) -> None:
    model = build_model(SMALLEST, DataShape(image=(1, 8, 8)), seed=0)
    student = TrainedStudent("t" * 16, model, weights_digest(model), [], 1.0, None)
    save_student(student, study_dir / "students" / "t", PIXEL)


@pytest.mark.parametrize("write", [write_row, write_samples, write_student])
def test_a_writer_without_room_says_so_and_leaves_nothing(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)  # where a file system that puts off its writes says it
        with pytest.raises(OSError, match="No space left") as refused:
            write(tmp_path)
    assert full_disk(refused.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    write(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_curve_without_room_makes_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_row(tmp_path)
    assert finished_run_ids(tmp_path) == set()


def test_a_lease_without_room_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"), lease(tmp_path / "study"):
        raise AssertionError("held without a file")
    assert not list(tmp_path.rglob("*.lease"))


class WorkerError(Exception):
    """Stands for whatever a worker's library makes of it."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("Traceback ...\nOSError: [Errno 28] No space left on device"),
        WorkerError('I/O error: No space left on device (os error 28)"'),
    ],
)
def test_the_sweep_ends_with_a_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_study(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(run, "run_study", run_study)
    assert sweep.main(["seeds=[7]"]) == 1
    said = capsys.readouterr().err
    assert "the disk of the study is full" in said
    assert "finished members are kept" in said
    assert "python -m study.sweep 'seeds=[7]'" in said
    assert "Traceback" not in said


def test_another_error_is_not_called_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_study(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(run, "run_study", run_study)
    with pytest.raises(PermissionError):
        sweep.main([])


def test_too_little_room_is_refused_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connected(*_: object) -> NoReturn:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(run, "connected", connected)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12 - 10**6, 10**6))
    study_dir = tmp_path / "study"
    with pytest.raises(ValueError, match=r"needs about \d+ MB of disk \(teachers .*1 MB left"):
        run.run_study(compose("config", [f"study_dir={study_dir}"]), "the command")
    assert not (study_dir / "records").exists()


def test_the_need_grows_with_the_plan_and_what_is_kept_of_a_pack(tmp_path: Path) -> None:
    overrides = [f"study_dir={tmp_path}", "seeds=[0,1]", "teachers=[unet_16]", "methods=[out_kd]", "student=unet_8"]
    config = study_config(compose("config", overrides))

    def need(num_slots: int = 2, missing: Sequence[TeacherSpec] = (), **changes: Any) -> DiskNeed:
        changed = replace(config, **changes)
        packs = plan_packs(plan_members(changed), None)
        return estimate_disk(changed, missing, packs, num_slots, Counts.of(changed))

    few, many = need(seeds=(0,)), need()
    for kind in ("students", "samples", "records"):
        assert getattr(many, kind) == 2 * getattr(few, kind)
    assert few.teachers == 0 < need(missing=config.teachers).teachers
    assert need(1).checkpoints < need(2).checkpoints
    assert need(0).checkpoints == need(checkpoint_every_minutes=None).checkpoints == 0
    assert need(train=replace(config.train, precision="float64")).students > 1.5 * need().students
    require_disk(tmp_path, need())


def test_the_cache_of_prepared_images_is_said_and_is_not_of_the_study(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{number}.png")
    data = [
        "teachers=[unet_16]",
        "data=folder",
        f"data.path={root}",
        "data.size=8",
        "data.name=pets",
        f"data.cache={tmp_path / 'cache'}",
    ]
    config = study_config(compose("config", [f"study_dir={tmp_path / 'study'}", "dry_run=true", *data]))
    need = estimate_disk(config, [], plan_packs(plan_members(config), None), 1, Counts.of(config))
    assert need.cache >= 4 * 3 * 8 * 8
    assert "in data.cache on every machine" in str(need)
    assert need.total == replace(need, cache=0).total

"""A teacher is trained once, found again by content, and evaluated under every protocol that asks."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image
from tiny import SHAPE, evaluation_spec, teacher_spec, train_spec, unet
from tiny import folders as folders_in

from trainables.folders import Folders
from trainables.models import count, load_model
from trainables.models.facts import find_teacher, read_facts
from trainables.protocol import EvaluationSpec
from trainables.specs import PrunedSpec, TeacherSpec
from trainables.training import teachers
from trainables.training.teachers import make_teacher


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return folders_in(tmp_path)


def small_teacher(**recipe: object) -> TeacherSpec:
    return teacher_spec(model=unet(4), train=train_spec(steps=2, key="teacher_train", **recipe))


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train_pack(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr(teachers, "train_pack", train_pack)


def test_a_teacher_is_found_after_it_was_made_and_only_under_its_protocol(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, protocol = small_teacher(), evaluation_spec()
    other: EvaluationSpec = evaluation_spec(sampler_steps=3)
    assert find_teacher(spec, protocol, folders) is None
    make_teacher(spec, protocol, folders)
    found = find_teacher(spec, protocol, folders)
    assert found is not None
    assert found.size == count(spec.model, SHAPE)
    assert found.fid is not None
    assert math.isfinite(found.fid)
    assert find_teacher(spec, other, folders) is None
    assert find_teacher(teacher_spec(seed=9), protocol, folders) is None

    forbid_training(monkeypatch)
    make_teacher(spec, other, folders)
    again, first = find_teacher(spec, other, folders), find_teacher(spec, protocol, folders)
    assert again is not None
    assert first is not None
    assert again.fid != first.fid == found.fid
    assert [path.name for path in folders.teachers.iterdir()] == [spec.teacher_id]
    assert not list(folders.teachers.rglob("*.tmp"))
    with Image.open(folders.teachers / spec.teacher_id / "samples.png") as image:
        assert image.size == (73, 19), "two rows of eight images of 8x8"


def test_a_teacher_says_what_it_took_by_the_part_of_a_gpu(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 10_000, 100))
    monkeypatch.setattr(teachers.time, "perf_counter", lambda: float(next(ticks)))
    train_pack = teachers.train_pack
    trained = partial(replaced, train_pack, train_seconds=40.0)
    monkeypatch.setattr(teachers, "train_pack", trained)
    spec = small_teacher()
    path = folders.teachers / spec.teacher_id / "teacher.json"
    make_teacher(spec, evaluation_spec(), folders, devices=0.25)
    assert read_facts(path.parent, path.name)["device_seconds"] == 0.25 * (40.0 + 100.0)
    make_teacher(spec, evaluation_spec(sampler_steps=3), folders, devices=0.25)  # evaluated anew
    assert read_facts(path.parent, path.name)["device_seconds"] == 0.25 * (40.0 + 100.0 + 100.0)


def replaced(train_pack: object, *args: object, train_seconds: float, **kwargs: object) -> list[object]:
    return [replace(one, train_seconds=train_seconds) for one in train_pack(*args, **kwargs)]  # type: ignore[operator]


def test_a_teacher_of_double_precision_is_kept_and_found_as_such(folders: Folders) -> None:
    spec = small_teacher(precision="float64")
    make_teacher(spec, evaluation_spec(), folders)
    assert find_teacher(spec, evaluation_spec(), folders) is not None
    folder = folders.teachers / spec.teacher_id / "unet"
    tensors = safetensors.torch.load_file(folder / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float64}


def test_changed_weights_are_named(folders: Folders) -> None:
    spec = small_teacher()
    make_teacher(spec, evaluation_spec(), folders)
    folder = folders.teachers / spec.teacher_id
    model = load_model(folder)
    with torch.no_grad():
        model.conv_out.bias += 1
    model.save_pretrained(folder / "unet")
    with pytest.raises(ValueError, match=f"{folder}/.* is damaged"):
        make_teacher(spec, evaluation_spec(sampler_steps=3), folders)


def test_facts_that_are_cut_off_are_named(folders: Folders) -> None:
    spec = small_teacher()
    folder = folders.teachers / spec.teacher_id
    folder.mkdir(parents=True)
    (folder / "teacher.json").write_text(json.dumps({"params": 3})[:-2])
    with pytest.raises(ValueError, match=r"teacher\.json is damaged"):
        find_teacher(spec, evaluation_spec(), folders)


def test_a_teacher_that_diverges_is_an_error_that_names_the_cure(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = teacher_spec(model=unet(4), train=train_spec(steps=20, lr=1e30, key="teacher_train"))
    with pytest.raises(ValueError, match=r"teacher unet_4 diverged at step \d+; lower teacher_train.lr"):
        make_teacher(spec, evaluation_spec(), folders)
    assert not folders.teachers.exists() or not list(folders.teachers.iterdir())


def test_a_teacher_is_cut_from_another_and_trained_on(folders: Folders) -> None:
    parent = teacher_spec(model=unet(8), train=train_spec(steps=2, key="teacher_train"))
    pruning = {"how": "diff_pruning", "ratio": 0.5, "num_steps": 2, "batch_size": 4}
    model = PrunedSpec(name="half", teacher=parent, pruning=pruning)
    spec = teacher_spec(model=model, train=train_spec(steps=3, key="teacher_train"))
    with pytest.raises(ValueError, match=parent.teacher_id):
        make_teacher(spec, evaluation_spec(), folders)  # its parent is not there
    make_teacher(parent, evaluation_spec(), folders)
    make_teacher(spec, evaluation_spec(), folders)
    found, larger = (find_teacher(one, evaluation_spec(), folders) for one in (spec, parent))
    assert found is not None
    assert larger is not None
    assert found.size == count(model, SHAPE)
    assert found.size.params < 0.5 * larger.size.params
    start, end = load_model(folders.initial / model.initial_id), load_model(folders.teachers / spec.teacher_id)
    whole = load_model(folders.teachers / parent.teacher_id)
    for row in start.conv_in.weight:  # it begins with the parent's trained weights
        assert any(torch.equal(row, other) for other in whole.conv_in.weight)
    moved = (start.conv_in.weight - end.conv_in.weight).abs().max()
    assert 0 < moved < 0.05  # and is trained on from there

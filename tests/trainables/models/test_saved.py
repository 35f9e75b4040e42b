"""A kept student is the whole folder that was saved, or an error, or nothing."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny import SHAPE, unet

from trainables.models import build_model
from trainables.models.digest import weights_digest
from trainables.models.saved import TrainedStudent, load_student, save_student
from trainables.process import PIXEL

CURVE = [{"step": 0, "loss": 2.5}, {"step": 5, "loss": 1.25}]
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def trained_student(seed: int = 0, dtype: torch.dtype = torch.float32) -> TrainedStudent:
    model = build_model(unet(4), SHAPE, seed=seed).to(dtype)
    return TrainedStudent("0123456789abcdef", model, weights_digest(model), CURVE, 12.5, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "students" / "0123456789abcdef"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kept_student_comes_back_as_it_was(folder: Path, dtype: torch.dtype) -> None:
    student = trained_student(dtype=dtype)
    save_student(student, folder, PIXEL)
    kept = load_student(folder)
    assert kept is not None
    assert kept.model is not None
    assert weights_digest(kept.model) == kept.digest == student.digest
    assert (kept.train_id, kept.curve, kept.train_seconds, kept.diverged_at_step) == (folder.name, CURVE, 12.5, None)
    assert not kept.model.training
    assert not any(parameter.requires_grad for parameter in kept.model.parameters())
    assert {parameter.dtype for parameter in kept.model.parameters()} == {dtype}


def test_what_was_never_kept_is_none(folder: Path) -> None:
    assert load_student(folder) is None


def test_changed_weights_are_named(folder: Path) -> None:
    save_student(trained_student(), folder, PIXEL)
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    tensors["conv_out.bias"] += 1e-6
    safetensors.torch.save_file(tensors, folder / WEIGHTS)
    with pytest.raises(ValueError, match=f"{folder / WEIGHTS} is damaged"):
        load_student(folder)


def test_weights_that_are_cut_off_are_named(folder: Path) -> None:
    save_student(trained_student(), folder, PIXEL)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(ValueError, match=str(folder)):
        load_student(folder)


def test_facts_that_are_cut_off_are_named(folder: Path) -> None:
    save_student(trained_student(), folder, PIXEL)
    (folder / "training.json").write_text((folder / "training.json").read_text()[:20])
    with pytest.raises(ValueError, match=f"{folder / 'training.json'} is damaged"):
        load_student(folder)


def test_an_existing_folder_stays(folder: Path) -> None:
    save_student(trained_student(seed=0), folder, PIXEL)
    save_student(trained_student(seed=1), folder, PIXEL)
    kept = load_student(folder)
    assert kept is not None
    assert kept.digest == trained_student(seed=0).digest


def test_only_the_folder_is_left(folder: Path) -> None:
    save_student(trained_student(), folder, PIXEL)
    save_student(trained_student(), folder, PIXEL)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    own = {"model_index.json", "training.json", "scheduler/scheduler_config.json"}
    assert written == {*own, "unet/config.json", WEIGHTS}
    json.loads((folder / "training.json").read_text())


def test_of_two_workers_the_first_one_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = trained_student(seed=0), trained_student(seed=1)
    save = second.model.save_pretrained

    def slow_save(*args: object, **kwargs: object) -> None:
        save_student(first, folder, PIXEL)  # while the second one is still writing
        save(*args, **kwargs)

    monkeypatch.setattr(second.model, "save_pretrained", slow_save)
    save_student(second, folder, PIXEL)
    kept = load_student(folder)
    assert kept is not None
    assert kept.digest == first.digest
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_save_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = trained_student()
    save = student.model.save_pretrained

    def failing_save(*args: object, **kwargs: object) -> None:
        save(*args, **kwargs)
        raise OSError("No space left on device")

    monkeypatch.setattr(student.model, "save_pretrained", failing_save)
    with pytest.raises(OSError, match="No space left"):
        save_student(student, folder, PIXEL)
    assert list(folder.parent.iterdir()) == []

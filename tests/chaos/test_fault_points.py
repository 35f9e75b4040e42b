"""Whatever writer is killed wherever: a reader sees the old state or the new one, and the next writer finishes."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fault_points import killed_at_every_point
from PIL import Image
from smallest_model import SMALLEST
from tiny_record import make_record
from torch import nn

from analysis.records.rows import finished_run_ids, read_curve, read_runs, write_run
from storage import new_file, remove_temporaries
from study.execution.record_sink import _write_samples
from trainables.data import DataShape
from trainables.models import build_model
from trainables.models.digest import weights_digest
from trainables.models.saved import TrainedStudent, load_student, save_model, save_student
from trainables.process import PIXEL
from trainables.ranks import Ranks
from trainables.training import teachers
from trainables.training.checkpoints import Checkpoints, snapshot


def check(write: Callable[[], None], read: Callable[[], Any], old: Any, new: Any, *folders: Path) -> int:
    """Kills write() at every point; read() must then give `old` or `new`. Returns how many points there were.

    After each kill the leftovers are swept as at the start of a sweep, so that every writer begins from `old` or `new`.
    """
    points, seen = 0, []
    assert read() == old
    for point in killed_at_every_point(write):
        points, found = point, read()
        assert found in (old, new), f"killed at point {point}"
        seen.append(found)
        for folder in folders:
            remove_temporaries(folder)
            assert not list(folder.glob(".*"))
    assert read() == new
    assert old in seen
    return points


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old" * 5000)

    def write() -> None:
        with new_file(path) as file:
            file.write(b"new" * 10000)

    assert check(write, path.read_bytes, b"old" * 5000, b"new" * 10000, tmp_path) >= 4


class Trainee:
    """What a checkpoint needs of a trainee, with two tensors and a curve that follow from the steps taken."""

    fused = False

    def __init__(self, steps: int = 0) -> None:
        train = SimpleNamespace(steps=100)
        self.member = SimpleNamespace(train_id="t" * 16, run_id="r" * 16, train=train)
        self.device = torch.device("cpu")
        self.state = [torch.full((1000,), float(steps)), [{"step": steps}]]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"parameters": self.state[0]}

    def marks(self) -> dict[str, Any]:
        return {"curve": self.state[1]}

    def restore(self, tensors: dict[str, torch.Tensor], marks: dict[str, Any]) -> None:
        self.state = [tensors["parameters"], marks["curve"]]


def test_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "pack", 0)
    train_id = "t" * 16

    def save(steps: int) -> None:
        state = snapshot([Trainee(steps)], [], {train_id: float(steps)}, steps=steps, ranks=Ranks())  # type: ignore[list-item]
        checkpoints.keep(state)

    def read() -> tuple[int, float, float, Any]:
        trainee = Trainee()
        steps, seconds = checkpoints.restore([trainee], [], Ranks())  # type: ignore[list-item]
        return steps, seconds[train_id], float(trainee.state[0].mean()), trainee.state[1]

    save(1)
    save(2)
    assert check(lambda: save(3), read, (2, 2.0, 2.0, [{"step": 2}]), (3, 3.0, 3.0, [{"step": 3}]), tmp_path) >= 8
    assert [path.name for path in sorted((tmp_path / "pack").iterdir())] == ["step-00000002", "step-00000003"]


def test_a_record(tmp_path: Path) -> None:
    row = make_record()
    curve = [{"step": step, "loss": 1.0} for step in range(50)]

    def read() -> tuple[set[str], list[str], int | None]:
        finished = finished_run_ids(tmp_path)
        num_points = len(read_curve(tmp_path, row["run_id"])) if finished else None
        return finished, read_runs(tmp_path).column("run_id").to_pylist(), num_points

    folders = [tmp_path / "records" / name for name in ("runs", "curves")]
    new = ({row["run_id"]}, [row["run_id"]], 50)
    assert check(lambda: write_run(tmp_path, row, curve), read, (set(), [], None), new, *folders) >= 8


@pytest.mark.parametrize("suffix", ["png", "npz"])
def test_a_sample_image_and_the_error_maps(suffix: str, tmp_path: Path) -> None:
    def write(value: int = 200) -> None:
        samples = torch.full((64, 1, 8, 8), value, dtype=torch.uint8)
        evaluation = SimpleNamespace(samples=samples, error_maps={"squared_error": np.full((10, 8, 8), value)})
        member = SimpleNamespace(run_id="r" * 16)
        _write_samples(SimpleNamespace(evaluation=evaluation, member=member), tmp_path)  # type: ignore[arg-type]

    def read() -> int | None:
        path = tmp_path / f"{'r' * 16}.{suffix}"
        if not path.exists():
            return None
        if suffix == "png":
            with Image.open(path) as image:
                return int(np.asarray(image).max())
        with np.load(path, allow_pickle=False) as arrays:
            return int(arrays["squared_error"].max())

    assert check(write, read, None, 200, tmp_path) >= 4
    assert check(lambda: write(100), read, 200, 100, tmp_path) >= 4


def test_a_student(tmp_path: Path) -> None:
    model = build_model(SMALLEST, DataShape(image=(1, 8, 8)), seed=0)
    student = TrainedStudent("t" * 16, model, weights_digest(model), [{"step": 0, "loss": 1.0}], 1.0, None)
    folder = tmp_path / student.train_id

    def read() -> str | None:
        kept = load_student(folder)  # raises where the weights are not those that were saved
        return None if kept is None else kept.digest

    assert check(lambda: save_student(student, folder, PIXEL), read, None, student.digest, tmp_path) >= 6


class UNet2DModel(nn.Module):
    """Saves itself like a diffusers model."""

    def save_pretrained(self, folder: Path, **_: object) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"weights" * 1000)


def test_a_teacher_and_what_is_known_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789abcdef"

    def read() -> tuple[int, int] | None:
        facts = teachers.read_teacher_facts(folder)
        if facts is None:
            return None
        return facts["fid"], len((folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes())

    def save() -> None:
        save_model(UNet2DModel(), folder, teachers.TEACHER, {"fid": 1}, PIXEL)

    assert check(save, read, None, (1, 7000), tmp_path) >= 6
    assert check(lambda: teachers._write_facts(folder, {"fid": 2}), read, (1, 7000), (2, 7000), folder) >= 4

"""study.verify names what is missing, changed and foreign, and only that."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_repair import RUN_ID, TEACHER_ID, TRAIN_ID, WEIGHTS, study_dir  # noqa: F401 (a fixture)

from analysis.records.rows import read_runs, write_run
from storage import SEAL
from study import verify as entry
from study.directory.verify import CHANGED, FOREIGN, MISSING, verify
from trainables.evaluation.sealed_files import write_npz, write_png
from trainables.models.saved import load_student


def digest_of(folder: Path) -> str | None:
    student = load_student(folder)
    assert student is not None
    return student.digest


@pytest.fixture
def study(study_dir: Path) -> Path:  # noqa: F811
    """The study of one member, whose row has its student's digest and its teacher."""
    (row,) = read_runs(study_dir).to_pylist()
    del row["schema_version"]
    digest = digest_of(study_dir / "students" / TRAIN_ID)
    write_run(study_dir, row | {"weights_digest": digest, "teacher_id": TEACHER_ID}, [{"step": 0, "loss": 1.0}])
    return study_dir


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


CASES: list[tuple[str, Callable[[Path], Any], str]] = [
    (f"students/{TRAIN_ID}", shutil.rmtree, MISSING),
    (f"teachers/{TEACHER_ID}", shutil.rmtree, MISSING),
    (f"records/curves/{RUN_ID}.parquet", Path.unlink, MISSING),
    (f"samples/{RUN_ID}.png", Path.unlink, MISSING),
    (f"students/{TRAIN_ID}/unet/config.json", append, CHANGED),
    (f"students/{TRAIN_ID}/{WEIGHTS}", append, CHANGED),
    (f"students/{TRAIN_ID}/training.json", Path.unlink, CHANGED),
    (f"teachers/{TEACHER_ID}/{WEIGHTS}", append, CHANGED),
    (f"records/runs/{RUN_ID}.parquet", append, CHANGED),
    (f"samples/{RUN_ID}.png", lambda path: path.write_bytes(b"x"), CHANGED),
    ("thesis.tex", Path.touch, FOREIGN),
    ("students/thesis", Path.mkdir, FOREIGN),
    (f"students/{TRAIN_ID}/pickle.bin", Path.touch, FOREIGN),
    ("samples/photo.png", Path.touch, FOREIGN),
    (f"students/{TRAIN_ID}/samples.png", Path.touch, FOREIGN),  # teachers have one
    (f"teachers/{TEACHER_ID}/photo.png", Path.touch, FOREIGN),
    (f"teachers/{TEACHER_ID}/samples.png", lambda path: path.write_bytes(b"x"), CHANGED),
    ("reference/r.json", append, CHANGED),
]


def swapped_png(path: Path) -> None:
    """The image of another member."""
    write_png(path.with_name(f"{'e' * 16}.png"), np.zeros((4, 4, 3), dtype=np.uint8))
    path.with_name(f"{'e' * 16}.png").rename(path)


def other_pixel(path: Path) -> None:
    """The image as an editor saves it, with its text."""
    with Image.open(path) as image:
        text, pixels = PngInfo(), np.array(image)
        text.add_text(SEAL, image.info[SEAL])
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path, pnginfo=text)


def without_seal(path: Path) -> None:
    """The same image or maps as another program writes them."""
    if path.suffix == ".png":
        Image.fromarray(np.array(Image.open(path))).save(path)
    else:
        np.savez(path, **dict(np.load(path)))


def other_map(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
    np.savez(path, squared_error=np.ones((10, 8, 8)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        (f"samples/{RUN_ID}.png", swapped_png),
        (f"samples/{RUN_ID}.png", other_pixel),
        (f"samples/{RUN_ID}.npz", other_map),
        (f"samples/{RUN_ID}.png", without_seal),
        (f"samples/{RUN_ID}.npz", without_seal),
        (f"teachers/{TEACHER_ID}/samples.png", other_pixel),
        ("reference/r.png", other_pixel),
    ],
)
def test_images_and_maps_that_read_well_but_were_changed_or_swapped_are_named(
    name: str, harm: Callable[[Path], None], study: Path
) -> None:
    path = study / name
    if path.suffix == ".png":
        write_png(path, np.full((4, 4, 3), 7, dtype=np.uint8))
    else:
        write_npz(path, {"squared_error": np.zeros((10, 8, 8))})
    assert verify(study) == []
    harm(path)
    (found,) = (finding for finding in verify(study) if finding.text.startswith(str(path)))
    assert found.kind == CHANGED
    assert "not what was written as" in found.text


def test_a_study_as_it_was_written(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([f"study_dir={study}"]) == 0
    assert "1 finished members, all files are as they were written" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "harm", "kind"), CASES)
def test_what_is_wrong_is_named(
    name: str, harm: Callable[[Path], Any], kind: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(study / name)
    assert entry.main([f"study_dir={study}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{kind}: ") and name.removesuffix("/training.json") in line for line in lines), lines


def test_a_student_of_other_weights_is_changed(study: Path) -> None:
    (row,) = read_runs(study).to_pylist()
    del row["schema_version"]
    write_run(study, row | {"weights_digest": "0" * 64}, [{"step": 0, "loss": 1.0}])
    (finding,) = verify(study)
    assert finding.kind == CHANGED
    assert "not those of the row" in finding.text

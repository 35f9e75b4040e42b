"""Data sets of the `datasets` package as people have them: what cannot be used is named by its column and row."""

from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from trainables.data import Dataset, make_data

IMAGES = [Image.new("RGB", (8, 8), (grey, grey, grey)) for grey in (10, 20, 30)]


def save(tmp_path: Path, columns: dict[str, list[Any]], **features: Any) -> datasets.Dataset:
    made = datasets.Dataset.from_dict(columns)
    for column, feature in features.items():
        made = made.cast_column(column, feature)
    made.save_to_disk(str(tmp_path / "saved"))
    return made


def load(tmp_path: Path, **settings: Any) -> Dataset:
    return source(tmp_path, **settings).load()


def source(tmp_path: Path, **settings: Any) -> Any:
    settings = {"source": "huggingface", "name": "hf", "path": str(tmp_path / "saved"), "size": 8} | settings
    return make_data({**settings, "cache": str(tmp_path / "cache")})


def test_the_column_has_a_part_in_the_identity(tmp_path: Path) -> None:
    save(tmp_path, {"image": IMAGES, "mask": IMAGES[::-1]}, image=datasets.Image(), mask=datasets.Image())
    found = [source(tmp_path, image_column=column) for column in ("image", "mask")]
    assert found[0].identity() != found[1].identity()
    assert [int(one.load().images[0, 0, 0, 0]) for one in found] == [10, 30]


def test_images_that_are_not_decoded_are_read(tmp_path: Path) -> None:
    save(tmp_path, {"image": IMAGES}, image=datasets.Image(decode=False))
    assert load(tmp_path).images[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_images_are_turned_as_exif_says_and_grey_stays_grey(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    half = Image.new("L", (8, 8), 0)
    half.paste(255, (0, 0, 4, 8))
    half.save(tmp_path / "a.png", exif=exif)
    save(tmp_path, {"image": [str(tmp_path / "a.png")]}, image=datasets.Image())
    images = load(tmp_path).images
    assert images.shape == (1, 1, 8, 8)
    assert images[0, 0, 0].tolist() == [0] * 4 + [255] * 4


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["a.png", "b.png"], "row 0 is of type str and not an image; cast_column"),
        ([[[1, 2], [3, 4]]], "row 0 is of type list and not an image"),
    ],
)
def test_what_is_no_image_is_named_by_column_and_row(images: list[Any], message: str, tmp_path: Path) -> None:
    save(tmp_path, {"picture": images})
    with pytest.raises(ValueError, match=f"data.image_column=picture: {message}"):
        load(tmp_path, image_column="picture")


def test_an_image_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    save(tmp_path, {"image": [IMAGES[0], None]}, image=datasets.Image())
    with pytest.raises(ValueError, match=r"data.image_column=image: row 1 is no image \(None\)"):
        load(tmp_path)
    broken = {"image": [{"bytes": b"no image", "path": None}]}
    save(tmp_path / "other", broken, image=datasets.Image(decode=False))
    with pytest.raises(ValueError, match=r"data.image_column=image: row 0 cannot be read as an image"):
        load(tmp_path / "other")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, -1, 2], "row 1 must be a class from 0 but is -1"),
        ([0, None, 2], "row 1 must be a whole number but is None"),
        (["cat", "dog", "cat"], r"row 0 must be a whole number but is 'cat'; class_encode_column\('label'\)"),
        ([0.5, 1.0, 2.0], "row 0 must be a whole number but is 0.5"),
        ([[0], [1], [2]], r"row 0 must be a whole number but is \[0\]"),
    ],
)
def test_a_label_that_is_no_class_is_named_by_column_and_row(labels: list[Any], message: str, tmp_path: Path) -> None:
    save(tmp_path, {"image": IMAGES, "label": labels}, image=datasets.Image())
    with pytest.raises(ValueError, match=f"data.label_column=label: {message}"):
        load(tmp_path, label_column="label")


def test_a_label_that_the_classes_lack_is_named(tmp_path: Path) -> None:
    classes = datasets.ClassLabel(names=["a", "b"])
    save(tmp_path, {"image": IMAGES, "label": [0, -1, 1]}, image=datasets.Image(), label=classes)
    with pytest.raises(ValueError, match=r"data.label_column=label: row 1 must be a class from 0 to 1 but is -1"):
        load(tmp_path, label_column="label")


def test_an_empty_set_and_a_split_that_is_not_named_are_refused(tmp_path: Path) -> None:
    save(tmp_path, {"image": IMAGES}, image=datasets.Image()).select([]).save_to_disk(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"data.path: .*empty cannot be read: it has no rows"):
        load(tmp_path, path=str(tmp_path / "empty"))
    parts = {name: datasets.Dataset.from_dict({"image": IMAGES}) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "parts"))
    with pytest.raises(ValueError, match=r"and data.split its split: train, test"):
        load(tmp_path, path=str(tmp_path / "parts"))

"""Images as people have them: of any depth, turned, transparent, hidden, linked, too many."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data import Dataset, make_data

RAMP = np.arange(65536).reshape(256, 256).astype(np.uint16)  # mean 32767.5, that is 127.5 of 255


def load(root: Path, **settings: Any) -> Dataset:
    cache = str(root.parent / "cache")
    spec = make_data({"source": "folder", "name": "a", "path": str(root), "size": 8, "cache": cache, **settings})
    return spec.load()


def flat(grey: int, **save: Any) -> Callable[[Path], None]:
    """Saves an image of one grey."""
    return lambda path: Image.new("RGB", (8, 8), (grey, grey, grey)).save(path, **save)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def classes(root: Path) -> Path:
    for number in range(12):
        path = root / "abcd"[number % 4] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        flat(number)(path)
    return root


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bits_are_scaled_and_not_clipped(ending: str, root: Path) -> None:
    Image.fromarray(RAMP).save(root / f"a.{ending}")
    images = load(root, size=256).images
    assert images.shape == (1, 1, 256, 256)
    assert images.float().mean().item() == pytest.approx(127.5, abs=0.1)
    assert images.unique().tolist() == list(range(256))


def test_16_bits_keep_their_transparency(root: Path) -> None:
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(root / "a.png", transparency=1000)
    assert load(root, background=50).images.unique().tolist() == [50]


@pytest.mark.parametrize("values", [np.zeros((8, 8), np.float32), np.zeros((8, 8), np.int32)])
def test_numbers_without_a_range_are_refused(values: np.ndarray, root: Path) -> None:
    Image.fromarray(values).save(root / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as an image: its pixels are .* range is not known"):
        load(root)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_says(orientation: int, root: Path) -> None:
    """Seen upright, the left half is white; the file holds it as the camera was held."""
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transpositions that undo the orientation's own
    upright = Image.fromarray(np.repeat([[255] * 4 + [0] * 4], 8, axis=0).astype(np.uint8))
    held = upright if orientation == 1 else upright.transpose(Image.Transpose(turns[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    held.save(root / "a.png", exif=exif)
    assert load(root).images[0, 0].tolist() == np.asarray(upright).tolist()


@pytest.mark.parametrize(("background", "expected"), [(255, [255] * 3), (0, [0] * 3), ([10, 20, 30], [10, 20, 30])])
def test_transparent_pixels_show_the_background(background: Any, expected: list[int], root: Path) -> None:
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(root / "a.png")
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.save(root / "b.png", transparency=1)
    Image.new("RGB", (8, 8), (200, 0, 0)).save(root / "c.png", transparency=(200, 0, 0))
    images = load(root, background=background).images
    assert images.shape == (3, 3, 8, 8)
    assert images.float().mean(dim=(2, 3)).tolist() == [expected] * 3


def test_half_transparent_pixels_are_mixed(root: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(root / "a.png")
    assert load(root).images.unique().tolist() == [127]


def test_channels_follow_the_images(root: Path) -> None:
    Image.new("L", (8, 8), 7).save(root / "a.png")
    Image.new("LA", (8, 8), (9, 255)).save(root / "b.png")
    assert load(root).images.shape == (2, 1, 8, 8)
    assert load(root, channels=3).images.shape == (2, 3, 8, 8)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(root / "c.png")
    Image.new("L", (8, 8), 4).save(root / "d.png")
    mixed = load(root).images
    assert mixed[:, :, 0, 0].tolist() == [[7, 7, 7], [9, 9, 9], [1, 2, 3], [4, 4, 4]]
    assert load(root, channels=1).images.shape == (4, 1, 8, 8)


def test_what_is_hidden_or_not_read_is_left_out_and_said(classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (classes / ".ipynb_checkpoints").mkdir()
    flat(1)(classes / ".ipynb_checkpoints" / "a-checkpoint.png")
    (classes / "a" / "._00.png").write_bytes(b"\0\5\x16\7 of a Mac")
    (classes / "a" / ".DS_Store").write_bytes(b"x")
    (classes / "a" / "x.heic").write_bytes(b"x")
    (classes / "b" / "gone.png").symlink_to("nowhere.png")
    flat(99)(classes / "contact_sheet.png")
    data = load(classes, classes=True)
    assert len(data) == 12
    assert data.num_classes == 4
    (line,) = capsys.readouterr().err.splitlines()
    start, reasons = line.split(" are left out: ")
    assert start == f"data.path: 6 of 18 files in {classes}"
    expected = ["1 beside the folders of the classes", "1 links to nothing", "1 of a kind that is not read (.heic)"]
    assert sorted(reasons.split(", ")) == [*expected, "3 hidden"]
    assert len(load(classes)) == 13


@pytest.mark.parametrize("ending", ["tif", "gif", "avif", "jfif", "tiff", "webp", "bmp"])
def test_other_endings_are_read(ending: str, root: Path) -> None:
    flat(200, **({"format": "JPEG"} if ending == "jfif" else {}))(root / f"a.{ending}")
    assert load(root).images.float().mean().item() == pytest.approx(200, abs=2)


def test_the_first_of_several_frames_is_taken_and_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(root / "a.gif", save_all=True, append_images=frames[1:])
    assert load(root).images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert capsys.readouterr().err == "data.path: of 1 files with several frames the first is taken\n"


def test_links_to_folders_are_followed_but_not_in_circles(classes: Path, tmp_path: Path) -> None:
    (classes / "d").rename(tmp_path / "elsewhere")
    (classes / "d").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(classes)
    data = load(classes, classes=True)
    assert data.num_classes == 4
    assert len(data) == 12


def test_the_limit_counts_in_each_class_and_is_drawn_by_its_seed(classes: Path) -> None:
    data = load(classes, classes=True, limit=2)
    assert data.conditions["class_labels"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(data.images, load(classes, classes=True, limit=2).images)
    others = [load(classes, classes=True, limit=2, limit_seed=seed).images for seed in range(1, 4)]
    assert not all(torch.equal(data.images, other) for other in others)
    assert len(load(classes, limit=5)) == 5


def test_a_file_name_that_is_no_utf8_is_read(root: Path) -> None:
    flat(3)(root / "b.png")
    (root / "b.png").rename(root / os.fsdecode(b"\xff.png"))
    assert load(root).images.unique().tolist() == [3]
    (root / "c.png").write_bytes(b"")
    (root / "c.png").rename(root / os.fsdecode(b"\xfe.png"))
    with pytest.raises(ValueError, match=r"\\xfe\.png cannot be read as an image") as refused:
        load(root)
    str(refused.value).encode()  # can be printed


def test_celeba_is_cut_out_as_its_code_does(root: Path) -> None:
    """Rows 57 to 185 and columns 25 to 153 of 178x218; here each pixel says where it is."""
    x, y = np.meshgrid(np.arange(178), np.arange(218))
    aligned = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))
    for number in range(4):
        aligned.save(root / f"{number:06}.png")
    (root.parent / "list_eval_partition.txt").write_text("000000.jpg 0\n000001.jpg 1\n000002.jpg 0\n000003.jpg 2\n")
    from study.config.options import option_config

    celeba = {**option_config("data", "celeba"), "path": str(root), "cache": str(root.parent / "cache")}
    celeba["partition"] = "list_eval_partition.txt"
    whole = make_data({**celeba, "size": 128}).load().images
    assert whole.shape == (2, 3, 128, 128)
    assert (whole[0, 0, 0].tolist(), whole[0, 1, :, 0].tolist()) == (list(range(25, 153)), list(range(57, 185)))
    images = make_data(celeba).load().images
    assert images.shape == (2, 3, 64, 64)
    expected = aligned.crop((25, 57, 153, 185)).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(images[1].permute(1, 2, 0), expected)
    assert len(make_data({**celeba, "split_value": 2}).load()) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("image_id,partition\na.png,0\nb.png,1\nc d.png,0\n", [0, 2]),  # as Kaggle has it
        ("a.png\nb.png\n", [0, 1]),
        ("a.png   0\r\nc d.png\t0\n\n", [0, 2]),
    ],
)
def test_partitions_of_several_forms(content: str, expected: list[int], root: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "c d")):
        flat(number)(root / f"{name}.png")
    (tmp_path / "split").write_text(content)
    for partition in (str(tmp_path / "split"), "split", [f"{name}.png" for name in ("a", "b", "c d")][: len(expected)]):
        images = load(root, partition=partition).images
        wanted = expected if isinstance(partition, str) else [0, 1]
        assert images[:, 0, 0, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.png 0\nb.png\n", r"data.partition: line 2 of .*split must be a name and a number but is 'b.png'"),
        ("a.png 1\n", r"data.split_value must be among those of .*split \(1\) but got 0"),
        ("z.png 0\n", r"data.partition: 1 of the 1 names of .*split, z.png first, are not among the images"),
    ],
)
def test_a_partition_that_does_not_fit_is_refused(content: str, message: str, root: Path, tmp_path: Path) -> None:
    flat(1)(root / "a.png")
    (tmp_path / "split").write_text(content)
    with pytest.raises(ValueError, match=message):
        load(root, partition="split")

"""A data set is what its images are; they are read once, kept sealed, and known in every process."""

import errno
import json
import os
import pickle
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage import full_disk
from trainables.data import cache_bytes, make_data
from trainables.data.digits import Digits
from trainables.specs import content_id

TIME = (1_700_000_000_000_000_000, 1_700_000_000_000_000_000)


def write(root: Path, greys: range) -> Path:
    """Images of equal names, sizes and times of change, whatever they show."""
    root.mkdir()
    for number, grey in enumerate(greys):
        path = root / f"{number}.bmp"
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)
        os.utime(path, ns=TIME)
    return root


def source(root: Path, tmp_path: Path, **settings: Any) -> Any:
    cache = str(tmp_path / "cache")
    return make_data({"source": "folder", "name": "a", "path": str(root), "size": 8, "cache": cache, **settings})


def test_other_images_of_the_same_names_sizes_and_times_are_other_data(tmp_path: Path) -> None:
    first, other = write(tmp_path / "first", range(32)), write(tmp_path / "other", range(100, 132))
    specs = [source(root, tmp_path) for root in (first, other)]
    assert specs[0].identity() != specs[1].identity()
    assert [int(spec.load().images[0, 0, 0, 0]) for spec in specs] == [0, 100]
    copy = shutil.copytree(first, tmp_path / "copy")
    assert source(copy, tmp_path).identity() == specs[0].identity()


def test_a_file_that_changed_in_place_is_read_again(tmp_path: Path) -> None:
    root = write(tmp_path / "a", range(4))
    first = source(root, tmp_path).identity()
    Image.new("RGB", (8, 8), (77, 0, 0)).save(root / "2.bmp")
    os.utime(root / "2.bmp", ns=TIME)
    changed = source(root, tmp_path)
    assert changed.identity() != first
    assert int(changed.load().images[2, 0, 0, 0]) == 77


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("size", 4), ("crop", 6), ("crop_box", [0, 0, 6, 6]), ("flip", True), ("resampling", "box")],
        *[("background", 0), ("limit", 2), ("channels", 1)],
    ],
)
def test_every_setting_has_a_part_in_the_identity(key: str, value: object, tmp_path: Path) -> None:
    root = write(tmp_path / "a", range(4))
    assert source(root, tmp_path).identity() != source(root, tmp_path, **{key: value}).identity()


def test_the_files_are_listed_once_and_not_by_those_who_are_handed_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "a", range(4))
    listed = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scan(path))
    spec = source(root, tmp_path)
    identities = {content_id(spec.identity()) for _ in range(484)}
    spec.load()
    assert listed.count(root) == 1
    handed_on = pickle.dumps(spec)
    assert len(handed_on) < 2000  # without the images
    shutil.rmtree(root)
    shutil.rmtree(tmp_path / "cache")
    assert {content_id(pickle.loads(handed_on).identity())} == identities  # noqa: S301 (of this test)


def test_a_process_that_finds_other_images_refuses_them(tmp_path: Path) -> None:
    root = write(tmp_path / "a", range(4))
    spec = source(root, tmp_path)
    spec.identity()
    handed_on = pickle.loads(pickle.dumps(spec))  # noqa: S301 (of this test)
    Image.new("RGB", (8, 8), (200, 0, 0)).save(root / "0.bmp")
    with pytest.raises(ValueError, match=r"data.path: .*a holds other images here than where the study was planned"):
        handed_on.load()


@pytest.mark.parametrize("what", ["a pixel", "the digest", "cut off", "no facts", "a pickle", "of another shape"])
def test_a_damaged_cache_is_prepared_again(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "a", range(4))
    expected = source(root, tmp_path).identity()
    (folder,) = (tmp_path / "cache").iterdir()
    images, facts = folder / "images.npy", folder / "facts.json"
    content = bytearray(images.read_bytes())
    if what == "a pixel":
        content[-1] ^= 1
        images.write_bytes(content)
    elif what == "cut off":
        images.write_bytes(content[:-10])
    elif what == "a pickle":
        np.save(images, np.array([Path], dtype=object), allow_pickle=True)
    elif what == "of another shape":
        np.save(images, np.zeros((4, 3, 9, 9), np.uint8))
    elif what == "the digest":
        facts.write_text(json.dumps({**json.loads(facts.read_text()), "sha256": "0" * 64}))
    else:
        facts.unlink()
    assert capsys.readouterr().err == ""
    again = source(root, tmp_path)
    assert again.identity() == expected
    assert again.load().images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert capsys.readouterr().err == f"damaged, prepared again: {folder}\n"
    assert source(root, tmp_path).identity() == expected
    assert capsys.readouterr().err == ""


def test_a_cache_that_was_only_touched_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "a", range(4))
    expected = source(root, tmp_path).identity()
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.touch()
    monkeypatch.delattr("trainables.data.folder.read_image")
    assert source(root, tmp_path).identity() == expected


def test_a_cache_without_room_is_refused_before_an_image_is_written(tmp_path: Path) -> None:
    root = write(tmp_path / "a", range(200))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # 200 images need 38,400 bytes
    try:
        with pytest.raises(ValueError, match=r"data.cache: .*cache cannot be written: File too large \(\d+ MB free"):
            source(root, tmp_path).load()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_cache_is_not_taken_for_a_full_study(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        ValueError, match=r"cache cannot be written: it has no room for 4 images \(\d+ MB free"
    ) as refused:
        source(write(tmp_path / "a", range(4)), tmp_path).load()
    assert not full_disk(refused.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_cache_can_be_counted_before_the_disk_is_full(tmp_path: Path) -> None:
    assert cache_bytes(source(write(tmp_path / "a", range(4)), tmp_path)) == 4 * 3 * 8 * 8
    assert cache_bytes(Digits()) == 0

"""Large folders: decoded by several processes, taken up where they were stopped, or read as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data import cache_bytes, make_data
from trainables.data.preparing import cache, decode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """JPEGs of noise, larger than they are wanted; the first ones are grey."""
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        shape = (20, 17) if number < 5 else (20, 17, 3)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number:02}.jpg")
    return folder


def source(root: Path, **settings: Any) -> Any:
    made_in = str(root.parent / "cache")
    return make_data({"source": "folder", "name": "a", "path": str(root), "size": 8, "cache": made_in, **settings})


def test_images_read_as_they_are_are_those_of_the_cache_to_the_bit(root: Path) -> None:
    kept, read = source(root), source(root, prepare=False)
    assert read.identity() == kept.identity()
    assert read.load().shape == kept.load().shape
    indices = torch.tensor([11, 0, 5, 5, 3])
    assert torch.equal(read.load().images[indices], kept.load().images[indices])
    assert torch.equal(read.load().x_0(indices), kept.load().x_0(indices))
    assert (cache_bytes(read), cache_bytes(kept)) == (0, 12 * 3 * 8 * 8)


def test_grey_images_read_as_they_are_have_one_channel(root: Path) -> None:
    settings = {"partition": [f"{number:02}.jpg" for number in range(5)]}
    kept, read = source(root, **settings), source(root, prepare=False, **settings)
    assert read.identity() == kept.identity()
    assert read.load().images[torch.arange(5)].shape == (5, 1, 8, 8)


def test_several_processes_give_the_images_of_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = source(root, cache=str(root.parent / "other")).load().images
    monkeypatch.setattr(decode, "FEW", 0)
    monkeypatch.setattr(decode, "_CHUNK_IMAGES", 2)
    monkeypatch.setattr(decode, "_READERS", 2)
    indices = torch.tensor([7, 2, 9, 2])
    assert torch.equal(source(root).load().images, expected)
    assert torch.equal(source(root, prepare=False).load().images[indices], expected[indices])


def test_a_file_that_cannot_be_read_is_named_by_another_process_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "FEW", 0)
    (root / "03.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"\Adata.path: [^\n]*03.jpg cannot be read as an image: [^\n]*\Z"):
        source(root).load()
    assert list((root.parent / "cache").iterdir()) == []


def test_what_is_stopped_is_taken_up_where_it_was_left(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped as by Ctrl-C at the tenth image; the first eight were kept, the last of which made the grey ones wide."""
    expected = source(root, cache=str(root.parent / "other")).load().images
    monkeypatch.setattr(cache, "_KEPT_EVERY", 4)
    decoded: list[str] = []
    fit = source(root)._fit

    def counted(self: Any, image: Image.Image, what: str) -> Image.Image:
        decoded.append(Path(what).stem)
        if stop and len(decoded) == 10:
            raise KeyboardInterrupt
        return fit(image, what)  # type: ignore[no-any-return]

    monkeypatch.setattr("trainables.data.folder.Folder._fit", counted)
    monkeypatch.setattr(decode, "_CHUNK_IMAGES", 1)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        source(root).load()
    stop = False
    decoded.clear()
    assert torch.equal(source(root).load().images, expected)
    assert decoded == ["08", "09", "10", "11"]
    assert not [path for path in (root.parent / "cache").iterdir() if path.name.startswith(".")]


def test_a_cache_without_room_is_not_needed_unless_it_is_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "free_bytes", lambda _: 12 * 3 * 8 * 8 - 1.0)
    assert cache_bytes(source(root)) == 0
    assert cache_bytes(source(root, prepare=True)) == 12 * 3 * 8 * 8
    assert cache_bytes(source(root)) == 12 * 3 * 8 * 8  # it is there now


def test_the_wish_is_true_or_false(root: Path) -> None:
    with pytest.raises(ValueError, match=r"data.prepare must be null, true or false but got 'no'"):
        source(root, prepare="no")

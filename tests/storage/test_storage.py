"""What every place promises, wherever it is: whole or not at all, moved, removed, had on the local disk."""

import pickle
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from storage import (
    cached,
    create,
    filled_folder,
    free_bytes,
    is_there,
    local_copy,
    made_folders,
    made_once,
    move,
    new_file,
    new_folder,
    overwrite,
    remove_folder,
    remove_temporaries,
    source,
    whole_folders,
)


def write(path: Path, content: bytes) -> None:
    with new_file(path) as file:
        file.write(content)


def write_folder(path: Path, content: bytes = b"content") -> None:
    with new_folder(path, "marker") as folder:
        (folder / "file").write_bytes(content)
        (folder / "marker").touch()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def test_a_file_is_there_as_a_whole_and_is_replaced(place: Path) -> None:
    path = place / "folder" / "file.txt"
    assert not path.exists()
    write(path, b"old")
    write(path, b"new")
    assert path.read_text() == "new"
    assert (names(place), names(place / "folder"), names(place / "none")) == (["folder"], ["file.txt"], [])
    with path.open("rb") as file:
        assert file.read() == b"new"
    assert path.is_file()
    path.unlink()
    path.unlink(missing_ok=True)
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        path.read_bytes()


def test_an_error_while_writing_leaves_what_was_there(place: Path) -> None:
    write(place / "file", b"old")

    def fail(what: AbstractContextManager[Any]) -> None:
        with what:
            raise KeyError

    with pytest.raises(KeyError):
        fail(new_file(place / "file"))
    with pytest.raises(KeyError):
        fail(new_folder(place / "folder", "marker"))
    assert (place / "file").read_bytes() == b"old"
    assert names(place) == ["file"]


def test_a_folder_is_there_with_its_marker(place: Path) -> None:
    assert not is_there(place / "folder", "marker")
    write_folder(place / "folder")
    write_folder(place / "folder", b"of another")  # the first stays
    assert is_there(place / "folder", "marker")
    assert (place / "folder" / "file").read_bytes() == b"content"
    assert whole_folders(place, "marker") == [place / "folder"]
    assert whole_folders(place / "none", "marker") == []
    remove_temporaries(place)
    assert names(place) == ["folder"]
    remove_folder(place / "folder")
    remove_folder(place / "folder")
    assert not is_there(place / "folder", "marker")
    assert names(place) == []


def test_a_folder_without_a_file_that_marks_it(place: Path) -> None:
    with new_folder(place / "folder") as folder:
        (folder / "file").touch()
    assert is_there(place / "folder")
    assert whole_folders(place) == [place / "folder"]


def test_a_folder_moves_with_all_that_is_in_it(place: Path) -> None:
    write_folder(place / "folder")
    write(place / "file", b"content")
    move(place / "folder", place / "aside" / "folder")
    move(place / "file", place / "aside" / "file")
    assert is_there(place / "aside" / "folder", "marker")
    assert (place / "aside" / "folder" / "file").read_bytes() == (place / "aside" / "file").read_bytes() == b"content"
    assert names(place) == ["aside"]
    with pytest.raises(FileNotFoundError):
        move(place / "folder", place / "elsewhere")


def test_files_and_folders_are_had_on_the_local_disk(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write_folder(place / "folder")
    with local_copy(place / "folder") as folder:
        assert names(folder) == ["file", "marker"]
        assert isinstance(folder, Path)
    with local_copy(place / "folder" / "file") as file:
        assert file.read_bytes() == b"content"
    copy = cached(place / "folder")
    assert (copy / "file").read_bytes() == b"content"
    assert cached(place / "folder") == copy
    write(place / "folder" / "file", b"changed!")
    assert (cached(place / "folder") / "file").read_bytes() == b"changed!"
    with filled_folder(place / "report", "index") as folder:
        (folder / "figures").mkdir()
        (folder / "figures" / "a.svg").write_text("svg")
        (folder / "index").touch()
    assert (place / "report" / "figures" / "a.svg").read_text() == "svg"
    content = source(place / "report" / "figures" / "a.svg")
    assert (content.read_bytes() if isinstance(content, Path) else content.read()) == b"svg"


def test_a_small_file_is_overwritten_only_where_it_is(place: Path) -> None:
    made = made_folders(place)
    create(place / "lease", b"0")
    overwrite(place / "lease", b"1")
    assert (place / "lease").read_bytes() == b"1"
    (place / "lease").unlink()
    with pytest.raises(FileNotFoundError):
        overwrite(place / "lease", b"2")
    assert names(place) == []
    assert all(folder.is_dir() for folder in made)
    assert free_bytes(place if made else Path("/")) > 0


def test_paths_behave_as_paths(place: Path) -> None:
    again = pickle.loads(pickle.dumps(place / "a"))  # noqa: S301
    assert again == place / "a"
    assert hash(again) == hash(place / "a")
    assert place / "a" < place / "b"
    assert str((place / "a" / "b").relative_to(place)) == "a/b"
    assert (place.absolute().name, (place / "x.txt").stem, (place / "x.txt").parent) == ("study", "x", place)
    assert str(place / "a").endswith("/study/a")


def test_of_many_that_want_a_thing_made_once_one_makes_it(tmp_path: Path) -> None:
    made: list[int] = []

    def want() -> None:
        with made_once(tmp_path / "cache" / "thing") as missing:
            if missing:
                made.append(1)
                time.sleep(0.2)
                (tmp_path / "cache" / "thing").mkdir(parents=True)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]

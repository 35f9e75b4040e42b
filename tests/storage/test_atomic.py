"""A name is there with its whole content, flushed to the disk, or not at all."""

import os
from pathlib import Path

import pytest

from storage import new_file, new_folder, remove_temporaries


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that are fsynced and renamed, in order."""
    happened: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def log_fsync(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        happened.append(f"fsync {'temporary' if name.endswith('.tmp') else name}")
        fsync(handle)

    def log_rename(source: Path, target: Path) -> None:
        happened.append("rename")
        rename(source, target)

    def log_replace(source: Path, target: Path) -> None:
        happened.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(os, "rename", log_rename)
    monkeypatch.setattr(os, "replace", log_replace)
    return happened


def test_a_file_is_on_the_disk_before_its_name_is(events: list[str], tmp_path: Path) -> None:
    with new_file(tmp_path / "folder" / "file") as file:
        file.write(b"content")
    assert (tmp_path / "folder" / "file").read_bytes() == b"content"
    assert events == ["fsync temporary", "rename", "fsync folder"]


def test_a_folder_is_on_the_disk_before_its_name_is(events: list[str], tmp_path: Path) -> None:
    with new_folder(tmp_path / "parent" / "folder", "file") as folder:
        (folder / "file").write_bytes(b"content")
    assert (tmp_path / "parent" / "folder" / "file").read_bytes() == b"content"
    assert events == ["fsync file", "fsync temporary", "rename", "fsync parent"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    full = OSError("No space left on device")
    with pytest.raises(OSError, match="No space left"), new_file(path):
        raise full
    with pytest.raises(OSError, match="No space left"), new_folder(tmp_path / "folder", "file"):
        raise full
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_writers_of_a_folder_the_first_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with new_folder(path, "file") as second:
        with new_folder(path, "file") as first:
            (first / "file").write_text("first")
        (second / "file").write_text("second")
    assert (path / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_only_temporaries_are_removed(tmp_path: Path) -> None:
    for name in ("kept", ".hidden", ".not.temporary"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".file.0a1b2c3d.tmp").write_text("half")
    (tmp_path / ".folder.0a1b2c3d.tmp").mkdir()
    (tmp_path / ".folder.0a1b2c3d.tmp" / "file").write_text("half")
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", ".not.temporary", "kept"]
    remove_temporaries(tmp_path / "missing")

"""A file that is not what was written under its name is refused, also without a seal."""

import json
from pathlib import Path

import pytest

from storage import check_files, digests, read_sealed, sealed

FACTS = {"fid": 1.5, "files": {}}


def test_a_fact_that_the_seal_would_overwrite_is_refused() -> None:
    with pytest.raises(ValueError, match="one must not hold the key sha256"):
        sealed("one", {**FACTS, "sha256": "of something else"})


def test_what_was_sealed_is_read(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_bytes(sealed("one", FACTS))
    assert read_sealed("one", tmp_path / "facts.json") == FACTS


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{", b'{"fid": 1.5}', json.dumps(FACTS).encode()])
def test_what_has_no_seal_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"{tmp_path / 'facts.json'} is damaged"):
        read_sealed("one", tmp_path / "facts.json")


def test_a_changed_value_and_another_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(sealed("one", FACTS))
    with pytest.raises(ValueError, match="not what was written under the name two"):
        read_sealed("two", path)
    path.write_bytes(path.read_bytes().replace(b"1.5", b"1.0"))
    with pytest.raises(ValueError, match="not what was written under the name one"):
        read_sealed("one", path)


def test_files_of_folders_are_among_the_digests(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights").write_bytes(b"1")
    (tmp_path / "index").write_bytes(b"2")
    found = digests(tmp_path)
    assert set(found) == {"unet/weights", "index"}
    check_files(tmp_path, found)
    (tmp_path / "unet" / "weights").write_bytes(b"3")
    with pytest.raises(ValueError, match="unet/weights is damaged"):
        check_files(tmp_path, found)
    (tmp_path / "unet" / "weights").unlink()
    with pytest.raises(ValueError, match="unet/weights is missing"):
        check_files(tmp_path, found)

"""The same tests on a folder of this machine and on an S3-compatible server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import location, remove_folder


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A place where nothing is yet."""
    if request.param == "local":
        yield tmp_path / "study"
        return
    path = location("study_dir", f"{request.getfixturevalue('bucket')}/{tmp_path.name}/study")
    yield path
    remove_folder(path)

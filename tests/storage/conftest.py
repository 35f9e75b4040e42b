"""The same tests on a folder of this machine and on an S3-compatible server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, environment, s3_server

from storage import location, remove_folder


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an empty bucket on a server of our own, and what reaches it in the environment."""
    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3")) as port:
        for name, value in environment(port).items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A place where nothing is yet."""
    if request.param == "local":
        yield tmp_path / "study"
        return
    path = location("study_dir", f"{request.getfixturevalue('bucket')}/{tmp_path.name}/study")
    yield path
    remove_folder(path)

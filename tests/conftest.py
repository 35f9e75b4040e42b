"""Set-up that every test needs, done before anything else is imported."""

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # read when diffusers is imported: a test never reaches for the network

from collections.abc import Iterator

import pytest
import torch
from s3_server import BUCKET, environment, s3_server

import trainables  # noqa: F401 (first: it makes torchvision importable, which diffusers and torch-fidelity import)

# A shell that starts the tests in the background has them ignore Ctrl-C, which is what some of them test.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # the models are tiny, and the result of a sum must not depend on the machine


@pytest.fixture(autouse=True)
def _own_working_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what is in the working directory: the studies of who runs them, say."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an empty bucket on a server of our own, and what reaches it in the environment."""
    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3")) as port:
        for name, value in environment(port).items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}"

"""An S3-compatible server on loopback that keeps objects as files and checks every signature (nanio, of PyPI)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUCKET = "bucket"
ACCESS_KEY, SECRET_KEY = "an-access-key", "a-secret-key-of-the-tests"


def environment(port: int) -> dict[str, str]:
    """What reaches the server: the standard variables of S3 clients."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def s3_server(folder: Path, port: int | None = None) -> Iterator[int]:
    """Serves the buckets in the folder, one of them made, until the block ends; gives the port."""
    port = port or free_port()
    (folder / BUCKET).mkdir(exist_ok=True)
    command = [sys.executable, "-m", "nanio", "serve", f"--data-dir={folder}", "--host=127.0.0.1", f"--port={port}"]
    keys = {"NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY}
    with subprocess.Popen(
        [*command, "--no-access-log"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **keys}
    ) as server:
        try:
            _wait_for(port, server)
            yield port
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the S3 server did not start")

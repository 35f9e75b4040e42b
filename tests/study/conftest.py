"""One Ray cluster for all tests that need one, and a way to run the sweep on it as a user does."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import ray
from tiny_sweep import Sweep, sweep_command

from study.config.command_line import entry_point
from study.sweep import main


@pytest.fixture(scope="session")
def cluster_dir() -> Iterator[Path]:
    """Where the shared cluster keeps its files; a short path, for sockets are among them."""
    folder = Path(tempfile.mkdtemp(prefix="kd-ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def dashboard_url() -> str:
    """Of the shared cluster."""
    return f"http://127.0.0.1:{_free_port()}"


@pytest.fixture(scope="session")
def cluster_address(cluster_dir: Path, dashboard_url: str, bucket: str) -> Iterator[str]:
    """The address of a running cluster with two CPUs, which reaches the bucket; clients here share its token."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ |= {"RAY_metrics_report_interval_ms": "1000"}  # metrics are seen after a second in place of ten
    os.environ |= {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}  # at its end nobody is served any more: not 30 seconds
    port = _free_port()
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", f"--port={port}", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--block"]
    command += [f"--dashboard-port={dashboard_url.rpartition(':')[2]}", f"--temp-dir={cluster_dir}"]
    command += [f"--ray-client-server-port={_free_port()}"]  # Ray's own default may be another cluster's
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as head:
        _wait_for(port, head)
        yield f"127.0.0.1:{port}"
        head.terminate()
        head.wait(timeout=60)


def _wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    """Until the cluster listens: a sweep asks once, and beside other load a cluster starts more slowly than a sweep."""
    deadline = time.monotonic() + 120
    while head.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.1)
    raise TimeoutError(f"no cluster listens on port {port}")


@pytest.fixture(scope="session")
def sweep(cluster_address: str) -> Sweep:
    """Runs `python -m study.sweep` on a tiny study, to its end, on the shared cluster."""

    def run(study_dir: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        command = sweep_command(study_dir, f"cluster.address={cluster_address}", *overrides)
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=dict(os.environ))

    return run


@pytest.fixture
def refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Sequence[str]], str]:
    """Gives the sweep bad overrides, in this process and in tmp_path, and returns the one line that is said.

    Asserts exit code 2 and that Ray was not started.
    """

    def never(*_: object, **__: object) -> None:
        raise AssertionError("Ray must not be started")

    def refuse(overrides: Sequence[str]) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(ray, "init", never)
        monkeypatch.setattr(sys, "argv", ["sweep", *overrides])
        with pytest.raises(SystemExit) as ended:
            entry_point(main)
        errors = capsys.readouterr().err
        assert ended.value.code == 2
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        return errors.rstrip()

    return refuse


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""A process of the cluster that was started here ends: the block ends soon, in a sentence, and gives its lease back."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from study.execution.ray_internals import agents
from study.execution.watchdog import UNKNOWN, ClusterDiedError, Process, said_last, watched

LOGGER = logging.getLogger("of.the.test")  # Ray's have levels that a sweep of another test may have set


@pytest.fixture
def raylet() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def dies(raylet: subprocess.Popen[bytes]) -> None:
    with watched({"raylet": raylet}, lambda: None):
        raylet.kill()
        time.sleep(30)


def test_the_block_is_interrupted_and_the_cause_is_said(raylet: subprocess.Popen[bytes]) -> None:
    with pytest.raises(ClusterDiedError, match=r"local Ray cluster has died: its raylet was killed \(SIGKILL\)"):
        dies(raylet)


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A raylet with an agent; its first line is the agent's process id."""
    program = "(exec -a ray::RuntimeEnvAgent sleep 60) & echo $!; wait; sleep 60"
    with subprocess.Popen(["bash", "-c", program], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def agent_dies(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    found = agents(parent.pid)
    assert [(name, agent.pid, agent.poll()) for name, agent in found.items()] == [("runtime-env agent", pid, None)]
    with watched({**found, "raylet": parent}, lambda: None):
        os.kill(pid, signal.SIGKILL)
        time.sleep(30)


def test_an_agent_that_dies_is_seen_before_it_takes_the_raylet_along(parent: subprocess.Popen[str]) -> None:
    with pytest.raises(ClusterDiedError, match="local Ray cluster has died: its runtime-env agent is gone"):
        agent_dies(parent)
    assert parent.poll() is None


def ended(code: int | None) -> Process:
    return SimpleNamespace(pid=0, poll=lambda: code)


def raises_of_a_cluster_with(**processes: Process) -> None:
    with watched(processes, lambda: None) as expect_end:
        assert expect_end() is False
        LOGGER.error("Trial task failed")
        raise KeyError("from the inside of Ray")


@pytest.mark.parametrize(
    ("raylet_code", "cause"), [(0, "agent is gone"), (-9, r"raylet was killed \(SIGKILL\)"), (None, "agent is gone")]
)
def test_what_follows_from_another_death_is_not_its_cause(raylet_code: int | None, cause: str) -> None:
    with pytest.raises(ClusterDiedError, match=cause):
        raises_of_a_cluster_with(agent=ended(UNKNOWN), raylet=ended(raylet_code), GCS=ended(None))


def test_what_ray_logs_of_its_own_death_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ClusterDiedError):
        raises_of_a_cluster_with(GCS=ended(-9))
    assert caplog.messages == []
    LOGGER.error("of the next cluster")
    assert caplog.messages == ["of the next cluster"]


def raises_at_once(raylet: subprocess.Popen[bytes]) -> None:
    with watched({"raylet": raylet}, lambda: None) as expect_end:
        raylet.terminate()
        raylet.wait()
        try:
            raise KeyError("from the inside of Ray")
        finally:
            expect_end()


def test_what_ray_says_of_its_own_death_is_not_passed_on(raylet: subprocess.Popen[bytes]) -> None:
    with pytest.raises(ClusterDiedError, match="SIGTERM"):
        raises_at_once(raylet)


def test_an_end_that_is_meant_is_no_death(raylet: subprocess.Popen[bytes]) -> None:
    said: list[str] = []
    with said_last(said.append), watched({"raylet": raylet}, lambda: said.append("killed")) as expect_end:
        expect_end()
        raylet.kill()
        raylet.wait()
        time.sleep(1.2)
    assert said == []


def test_errors_of_the_block_stay_what_they_are(raylet: subprocess.Popen[bytes]) -> None:
    with pytest.raises(KeyError), watched({"raylet": raylet}, lambda: None):
        raise KeyError("a bug")


# The main thread does not come back from what it waits for, as in Ray's C++.
STUCK = """
import os, signal, subprocess, sys, time
from pathlib import Path
from study.directory.lease import lease
from study.execution import watchdog
from study.execution.ending import ended
watchdog._PATIENCE_SECONDS = 0.5
raylet = subprocess.Popen(["sleep", "1"])  # ends once the block waits
def kill_rest():
    print("the rest is killed", flush=True)
def work():
    with lease(Path(sys.argv[1])), watchdog.watched({"raylet": raylet}, kill_rest):
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass
ended(work, "the command")
"""


# As Ray's C++ ends a driver whose raylet is gone: at once, and without a word.
ENDED = """
import os, subprocess, sys, time
from pathlib import Path
from study.directory.lease import lease
from study.execution import watchdog
from study.execution.ending import ended
raylet = subprocess.Popen(["sleep", "60"])
def work():
    with lease(Path(sys.argv[1])), watchdog.watched({"raylet": raylet}, lambda: None):
        raylet.kill()
        until = time.monotonic() + 0.2  # far less than between two looks at a clock
        while time.monotonic() < until:
            try:
                time.sleep(0.2)
            except KeyboardInterrupt:
                pass
        os._exit(1)
ended(work, "the command")
"""


@pytest.mark.full
def test_the_sentence_comes_before_ray_can_end_the_process(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    command = [sys.executable, "-c", ENDED, str(study_dir)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("\nfailed: the local Ray cluster has died: its raylet was killed (SIGKILL)\n")
    assert not list(study_dir.glob("sweep-*"))


@pytest.mark.full
def test_last_words_are_said_for_a_thread_that_does_not_come_back(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    command = [sys.executable, "-c", STUCK, str(study_dir)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert result.stdout == "the rest is killed\n"
    assert result.stderr.startswith(
        "\nfailed: the local Ray cluster has died: its raylet ended by itself (exit code 0)"
    )
    assert result.stderr.endswith("run the same command again to go on:\n  the command\n")
    assert not list(study_dir.glob("sweep-*"))

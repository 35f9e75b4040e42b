"""A Ray cluster of this process' own, of one head and worker nodes, whose processes may be killed."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# The titles that Ray gives its processes, by the kind of kill.
_TITLES = {
    "worker": "ray::RayTrainWorker",
    "driver": "ray::ImplicitFunc",
    "controller": "ray::TrainController",
}
_KEPT_ACTORS = ("TrainStateActor", "_AutoscalingCoordinatorActor")  # Ray's own, one for a cluster, meant to stay
_PATIENCE_SECONDS = 60.0


class VictimCluster:
    """A context manager. The head has no CPUs, so that packs run on the worker nodes, which have one CPU each."""

    def __init__(self, num_nodes: int = 1, *, num_cpus: int = 1, num_gpus: int = 0) -> None:
        """num_cpus, num_gpus: what a worker node says that it has."""
        self._num_nodes, self._resources = num_nodes, {"num_cpus": num_cpus, "num_gpus": num_gpus}

    def __enter__(self) -> VictimCluster:
        require_token()
        from ray.cluster_utils import Cluster

        before = set(processes())
        # A short path, for sockets are among what is in it.
        self._folders = tempfile.TemporaryDirectory(prefix="kd-", dir="/tmp", ignore_cleanup_errors=True)
        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "temp_dir": tempfile.mkdtemp(dir=self._folders.name),  # `auto` finds the newest cluster of a folder
                "include_dashboard": True,
                "dashboard_host": "127.0.0.1",
                "dashboard_port": None,  # whichever is free: other clusters may be on this machine
                "dashboard_agent_listen_port": _free_port(),  # who starts jobs
            },
        )
        # As `ray start` does it: a job that asks for `auto` would otherwise be given any cluster of the machine.
        (Path(self._cluster.head_node.get_temp_dir_path()) / "ray_current_cluster").write_text(self._cluster.address)
        self._before = before
        self._nodes: list[Any] = []
        for _ in range(self._num_nodes):
            self.add_node()
        self.address = str(self._cluster.address)
        self.dashboard_url = f"http://{self._cluster.webui_url}"
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()
        self._folders.cleanup()

    def pids(self, kind: str) -> list[int]:
        """The processes of a kind, in order; only this process' own descendants are looked at."""
        return sorted(pid for pid, title in processes().items() if title.startswith(_TITLES[kind]))

    def kill_node(self) -> None:
        """Kills the newest worker node at once with everything on it."""
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def add_node(self) -> None:
        # In a shared folder a node that unpacks the code of a job would remove it from under the others.
        folder = tempfile.mkdtemp(dir=self._folders.name)
        self._nodes.append(self._cluster.add_node(**self._resources, temp_dir=folder))

    def leaks(self) -> list[str]:
        """What is still there of sweeps that have ended, in words; waits a minute for it to go."""
        return _wait_until_empty(self._leaks_now)

    def left_processes(self) -> list[str]:
        """After the end: this process' descendants that were not there at the start; waits a minute for them to go."""
        return _wait_until_empty(
            lambda: [f"process {title}" for pid, title in processes().items() if pid not in self._before]
        )

    def _leaks_now(self) -> list[str]:
        from ray.util.state import list_actors, list_placement_groups

        groups = list_placement_groups(address=self.address, filters=[("state", "!=", "REMOVED")])
        actors = list_actors(address=self.address, filters=[("state", "!=", "DEAD")])
        return [
            *(f"placement group {group.placement_group_id}" for group in groups),
            *(f"actor {actor.class_name}" for actor in actors if actor.class_name not in _KEPT_ACTORS),
            *(f"process {title}" for title in processes().values() if title.startswith(tuple(_TITLES.values()))),
        ]


def require_token() -> None:
    """Clusters of this process ask for a token, unless the environment has another; Ray looks when it is imported."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill(pid: int) -> None:
    """SIGKILL, to a process that may have ended meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def processes() -> dict[int, str]:
    """The titles of this process' descendants, by process id."""
    parents, titles = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue  # it has ended meanwhile
            if state != "Z":
                parents[int(folder.name)], titles[int(folder.name)] = int(parent), title
    found: dict[int, str] = {}
    ancestors = {os.getpid()}
    while children := {pid for pid, parent in parents.items() if parent in ancestors} - set(found):
        found |= {pid: titles[pid] for pid in children}
        ancestors |= children
    return found


def _wait_until_empty(look: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found

"""Starts Ray here or joins a running cluster; what a worker asks for, and how many worker groups fit."""

import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray

from study.config.study import LOCAL, ClusterConfig
from study.execution import ray_internals
from study.execution.launch import WorkerGroup
from study.execution.machine import (
    disown_session,
    keep_token_private,
    own_session,
    remove_dead_sessions,
    remove_folders,
)
from study.execution.memory import MEMORY
from study.execution.watchdog import watched

_CONNECT_SECONDS = 5.0
_LOOK_SECONDS = 5.0
_ROUNDING = 1e-9
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray in the processes of a job
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Cluster:
    """A cluster that is connected: how many worker groups run at once, what memory a worker has, the dashboard."""

    num_slots: int  # when it was connected
    worker_memory_bytes: float  # of its GPU where it has one
    dashboard_url: str | None
    spans_nodes: bool
    live_slots: Callable[[], int]  # how many worker groups it holds now


@contextmanager
def connected(config: ClusterConfig, own_code: Sequence[Path] = ()) -> Iterator[Cluster]:
    """Connects for the duration. own_code: modules and packages of the user's that workers import.

    Raises ValueError when the cluster cannot be reached or is too small for one pack.
    """
    require_reachable(config)
    environment = {**RAY, **MEMORY, "OMP_NUM_THREADS": str(worker_group(config).threads)}
    os.environ.update(environment)
    if config.address == LOCAL and own_code:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"] = _python_path(own_code)
    local = {"include_dashboard": True, "dashboard_host": config.dashboard_host}
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C ends the sweep at once; finished members have their rows
    if config.address == LOCAL:
        keep_token_private()
    try:
        where = ray_internals.on_loopback() if config.address == LOCAL else nullcontext()
        with where, ray_internals.without_messages():
            context = ray.init(
                address=config.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                # A local cluster inherits the environment, so that the processes Ray starts ahead are of use.
                **(local if config.address == LOCAL else {"runtime_env": _runtime_env(environment, own_code)}),
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"cluster.address={config.address} cannot be reached: {error}") from error
    if threading.current_thread() is threading.main_thread():  # Ray has put its own there: an exit without a word
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if config.address == LOCAL:
        session = ray_internals.session_dir()
        session.chmod(0o700)  # Ray makes it for everybody
        own_session(session)
        remove_dead_sessions(session.parent)
    processes = ray_internals.cluster_processes() if config.address == LOCAL else {}
    with watched(processes, partial(ray_internals.kill_cluster, processes)) as expect_end:
        try:
            nodes = _nodes()
            slots = count_slots(config, nodes)
            count_slots(config.of_teachers, nodes, "cluster.teacher_num_workers")
            if notice := idle_gpus(config, slots.number, sum(node.get("GPU", 0.0) for node in nodes)):
                print(notice, file=sys.stderr)
            memory = _worker_memory_bytes(config, ray.cluster_resources())
            live = _LiveSlots(config, slots.spans_nodes)
            yield Cluster(slots.number, memory, _dashboard_url(context), slots.spans_nodes, live)
        finally:
            ends_well = expect_end()
            left = ray_internals.socket_dirs() if processes else []
            if processes and ends_well:  # else Ray's logs stay
                left.append(ray_internals.session_dir())
            elif processes:
                disown_session(ray_internals.session_dir())
            ray.shutdown()
            remove_folders(left)
            if not ends_well:
                ray_internals.kill_cluster(processes)


def _python_path(own_code: Sequence[Path]) -> str:
    """PYTHONPATH with the folders of the modules and packages at its end."""
    there = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.pathsep.join(dict.fromkeys([*there, *(str(path.absolute().parent) for path in own_code)]))


def _runtime_env(environment: Mapping[str, str], own_code: Sequence[Path]) -> dict[str, Any]:
    """What workers of a cluster that runs are given. Within a job its working directory has the user's code."""
    modules = [] if _JOB in os.environ else [str(path.absolute()) for path in own_code]
    return {"env_vars": dict(environment), **({"py_modules": modules} if modules else {})}


def idle_gpus(config: ClusterConfig, num_slots: int, num_gpus: float) -> str | None:
    """What is said of GPUs that no worker will have; None where all are used, or there are none."""
    if config.gpus_per_worker == 0:
        if config.address == LOCAL and sys.platform == "darwin":
            return "notice: Apple's GPU is not used: MPS has no float64, in which statistics and checks are summed"
        if num_gpus < 1:
            return None
        return (
            f"notice: {num_gpus:g} GPUs lie idle: cluster.gpus_per_worker=1 uses them, 0.25 puts four workers on each"
        )
    idle = num_gpus - num_slots * config.num_workers * config.gpus_per_worker
    if idle < 1:
        return None
    return (
        f"notice: {idle:g} of {num_gpus:g} GPUs lie idle: {num_slots} packs of {config.num_workers} x"
        f" {config.cpus_per_worker:g} CPUs are all that fit; a smaller cluster.cpus_per_worker makes room for more"
    )


def local_slots(config: ClusterConfig) -> int | None:
    """How many worker groups of packs fit this machine, where Ray will be started here; None for a cluster that runs.

    Raises ValueError where it is too small for one pack, or for one teacher.
    """
    if config.address != LOCAL:
        return None
    config, here = replace(config, memory_gb_per_worker=0.0), [_this_machine()]
    slots = count_slots(config, here)
    count_slots(config.of_teachers, here, "cluster.teacher_num_workers")
    return slots.number


def require_reachable(config: ClusterConfig) -> None:
    """Raises ValueError when this machine is too small for one pack, or where no cluster answers; starts nothing."""
    if config.address == LOCAL:
        local_slots(config)
        if config.dashboard_host not in _LOOPBACK:
            print(
                f"warning: cluster.dashboard_host={config.dashboard_host} opens the dashboard to other machines"
                " (with Ray's token; its metrics need none)",
                file=sys.stderr,
            )
    elif config.address != "auto":  # ray.init would try again for half a minute
        host, _, port = config.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ValueError(f"cluster.address={config.address} cannot be reached: {error}") from error


@dataclass(frozen=True)
class Slots:
    """How many packs run at once. spans_nodes: a pack does not fit any one node."""

    number: int
    spans_nodes: bool


def count_slots(config: ClusterConfig, nodes: Sequence[Mapping[str, float]], key: str = "cluster.num_workers") -> Slots:
    """How many worker groups fit the nodes at once, counted node by node: a worker is never divided between nodes.

    nodes: the resources of each. A pack stays on one node where any node holds it whole, and spans nodes where none
    does. Raises ValueError, with what is asked for and what there is, when it can never be placed.
    """
    need = worker_group(config).resources
    workers = [min(_holds(node.get(kind, 0.0), kind, amount) for kind, amount in need.items()) for node in nodes]
    whole = sum(number // config.num_workers for number in workers)
    number = whole or sum(workers) // config.num_workers
    if number < 1:
        asked, largest = (
            _resources_text(need),
            [_resources_text({kind: node.get(kind, 0.0) for kind in need}) for node in nodes],
        )
        found = ", ".join(f"{largest.count(one)} x ({one})" for one in dict.fromkeys(largest)) or "none"
        raise ValueError(
            f"{key}={config.num_workers} workers of {asked} each can never be placed: there is room for"
            f" {sum(workers)} on the cluster's nodes: {found}"
        )
    return Slots(number, spans_nodes=not whole)


def _holds(there: float, kind: str, amount: float) -> int:
    """How many times the amount is there; a fraction of a GPU is never put together from two."""
    whole = math.floor(there) if kind == "GPU" and amount < 1 else 0
    return whole * int(1 / amount + _ROUNDING) + int((there - whole) / amount + _ROUNDING)


def require_outlives_job(study_dir: Path, address: str) -> None:
    """Within a job of `ray job submit`: raises ValueError where the study would end with the job's folder, or Ray."""
    if _JOB not in os.environ:
        return
    if not study_dir.is_absolute():
        raise ValueError(
            "study_dir must be an absolute path or a URI in a Ray job, whose working directory is removed with it,"
            f" but got {study_dir}"
        )
    if address == LOCAL:
        raise ValueError(f"cluster.address must be auto in a Ray job, which runs on its cluster, but got {address!r}")


def _resources_text(resources: Mapping[str, float]) -> str:
    return ", ".join(
        f"{amount / 1e9:.3g} GB" if kind == "memory" else f"{amount:g} {kind}s" for kind, amount in resources.items()
    )


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class _LiveSlots:
    """How many packs the cluster holds now: nodes that join count, nodes that left do not; counted every 5 s."""

    def __init__(self, config: ClusterConfig, spans_nodes: bool) -> None:
        self._config, self._spans_nodes, self._looked, self._number = config, spans_nodes, -math.inf, 0

    def __call__(self) -> int:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            try:
                found = count_slots(self._config, _nodes())
                self._number = 0 if found.spans_nodes and not self._spans_nodes else found.number
            except ValueError:
                self._number = 0  # until a node comes back, nothing is begun
        return self._number


def _worker_memory_bytes(config: ClusterConfig, resources: dict[str, float]) -> float:
    if config.gpus_per_worker > 0:
        of_gpu: int = ray.get(ray.remote(num_cpus=0, num_gpus=config.gpus_per_worker)(_gpu_memory_bytes).remote())
        return of_gpu * min(1.0, config.gpus_per_worker)
    return resources.get("memory", 0.0) * config.cpus_per_worker / resources["CPU"]


def _gpu_memory_bytes() -> int:
    import torch

    return torch.cuda.get_device_properties(0).total_memory


def _this_machine() -> dict[str, float]:
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(_num_local_gpus())}


def _num_local_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _dashboard_url(context: object) -> str | None:
    url = getattr(context, "dashboard_url", None)
    return f"http://{url}" if url else None


# Ray Train V2 looks at its workers every two seconds by default, which is how late it sees that a pack has ended.
RAY = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


def worker_group(config: ClusterConfig, *, spans_nodes: bool = False) -> WorkerGroup:
    """What a pack asks for. spans_nodes: it fits no single node, so that its workers may be divided between nodes."""
    return WorkerGroup(
        num_workers=config.num_workers,
        cpus_per_worker=config.cpus_per_worker,
        gpus_per_worker=config.gpus_per_worker,
        memory_gb_per_worker=config.memory_gb_per_worker,
        placement_strategy="PACK" if spans_nodes else "STRICT_PACK",
    )

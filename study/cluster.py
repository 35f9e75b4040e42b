"""Starts Ray here or joins a running cluster, and says how many worker groups fit."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from study.config import LOCAL, ClusterConfig
from study.worker_environment import MEMORY, RAY

_CONNECT_SECONDS = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Cluster:
    """A cluster that is connected: how many worker groups run at once, what memory a worker has, the dashboard."""

    num_slots: int
    worker_memory_bytes: float  # of its GPU where it has one
    dashboard_url: str | None


@contextmanager
def connected(config: ClusterConfig) -> Iterator[Cluster]:
    """Connects for the duration. Raises ValueError when the cluster cannot be reached or is too small for one pack."""
    require_reachable(config)
    environment = {**RAY, **MEMORY, "OMP_NUM_THREADS": str(max(1, int(config.cpus_per_worker)))}
    os.environ.update(environment)
    local = {"include_dashboard": True, "dashboard_host": config.dashboard_host}
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C ends the sweep at once; finished members have their rows
    try:
        context = ray.init(
            address=config.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            # A local cluster inherits the environment, so that the processes Ray starts ahead are of use.
            **(local if config.address == LOCAL else {"runtime_env": {"env_vars": environment}}),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"cluster.address={config.address} cannot be reached: {error}") from error
    try:
        resources = ray.cluster_resources()
        yield Cluster(count_slots(config, resources), _worker_memory_bytes(config, resources), _dashboard_url(context))
    finally:
        ray.shutdown()


def require_reachable(config: ClusterConfig) -> None:
    """Raises ValueError when this machine is too small for one pack, or where no cluster answers; starts nothing."""
    if config.address == LOCAL:
        count_slots(config, {"CPU": os.cpu_count() or 1, "GPU": float(_num_local_gpus())})
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


def count_slots(config: ClusterConfig, resources: dict[str, float]) -> int:
    """How many worker groups fit the resources at once. Raises ValueError, with the sum, when none does."""
    need = {"CPU": config.num_workers * config.cpus_per_worker, "GPU": config.num_workers * config.gpus_per_worker}
    slots = min(int(resources.get(kind, 0) / amount) for kind, amount in need.items() if amount > 0)
    if slots < 1:
        raise ValueError(
            f"cluster.num_workers={config.num_workers} needs {need['CPU']:g} CPUs and {need['GPU']:g} GPUs"
            f" for one pack, but the cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
        )
    return slots


def _worker_memory_bytes(config: ClusterConfig, resources: dict[str, float]) -> float:
    if config.gpus_per_worker > 0:
        of_gpu: int = ray.get(ray.remote(num_cpus=0, num_gpus=config.gpus_per_worker)(_gpu_memory_bytes).remote())
        return of_gpu * min(1.0, config.gpus_per_worker)
    return resources.get("memory", 0.0) * config.cpus_per_worker / resources["CPU"]


def _gpu_memory_bytes() -> int:
    import torch

    return torch.cuda.get_device_properties(0).total_memory


def _num_local_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _dashboard_url(context: object) -> str | None:
    url = getattr(context, "dashboard_url", None)
    return f"http://{url}" if url else None

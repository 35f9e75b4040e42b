"""Everything that is used of Ray's private parts, with the reason; seen to work with Ray 2.60.

Each function fails with one sentence when Ray has moved what it needs (tests/study/execution/test_ray_internals.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from study.execution.watchdog import UNKNOWN, Process

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

# One actor each, so one process more for every trial. No Ray Data set is used; and placement groups of killed
# controllers are freed by placement_groups.py, since Ray's own actor outlives a controller that is killed early.
UNUSED_CALLBACKS = ("DatasetsCallback", "PlacementGroupCleanerCallback")
# What is in the titles of the agents: of their programs at first, then their own.
_AGENTS = {
    "dashboard agent": ("dashboard/agent.py", "ray::DashboardAgent"),
    "runtime-env agent": ("runtime_env/agent/main.py", "ray::RuntimeEnvAgent"),
}


@contextmanager
def _moved(what: str) -> Iterator[None]:
    """Turns a failed import or attribute into one sentence."""
    try:
        yield
    except (ImportError, AttributeError) as error:
        raise RuntimeError(
            f"Ray {ray.__version__} has no {what} any more ({error}): see study/execution/ray_internals.py"
        ) from error


def lean_torch_trainer() -> type[Any]:
    """A TorchTrainer without UNUSED_CALLBACKS. Public options of Ray cannot leave them out."""
    from ray.train.torch import TorchTrainer

    with _moved("TorchTrainer._create_default_callbacks"):
        assert callable(TorchTrainer._create_default_callbacks)

    class LeanTorchTrainer(TorchTrainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            callbacks: Sequence[Any] = super()._create_default_callbacks()
            return [callback for callback in callbacks if type(callback).__name__ not in UNUSED_CALLBACKS]

    return LeanTorchTrainer


def group_start_failed() -> type[Exception]:
    """What Ray Train says where a worker died before it began."""
    with _moved("ray.train.v2._internal.exceptions.WorkerGroupStartupFailedError"):
        from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError

        return WorkerGroupStartupFailedError  # type: ignore[no-any-return]


def group_start_timed_out() -> type[Exception]:
    """What Ray Train says where a worker group found no places for a while."""
    with _moved("ray.train.v2._internal.exceptions.WorkerGroupStartupTimeoutError"):
        from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

        return WorkerGroupStartupTimeoutError  # type: ignore[no-any-return]


def pass_on_to_controllers(variable: str) -> None:
    """Ray Train's controllers get only the environment variables of a list; adds one."""
    with _moved("ray.train.v2._internal.constants.ENV_VARS_TO_PROPAGATE"):
        from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

        ENV_VARS_TO_PROPAGATE.add(variable)


def keep_credentials_out_of_tune() -> None:
    """Tune copies AWS credentials into runtime environments, which Ray logs. Nodes have them in their environment."""
    with _moved("ray.tune.execution.class_cache.ENV_VARS_TO_PROPAGATE"):
        from ray.tune.execution import class_cache

        class_cache.ENV_VARS_TO_PROPAGATE -= {
            name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")
        }


def placement_group(group_id: str) -> PlacementGroup:
    """The placement group of a hexadecimal id; public functions find groups only by their name."""
    from ray.util.placement_group import PlacementGroup

    with _moved("ray._raylet.PlacementGroupID"):
        from ray._raylet import PlacementGroupID

        return PlacementGroup(PlacementGroupID(bytes.fromhex(group_id)))


@dataclass(frozen=True)
class Group:
    """A placement group as the GCS knows it."""

    group_id: str  # hexadecimal, as the job's
    job_id: str
    is_created: bool
    is_detached: bool
    resources: frozenset[str]  # kinds that its bundles have


def placement_groups() -> list[Group]:
    """All of the cluster, asked of the GCS: the public list needs the dashboard, and fails above 10,000."""
    with _moved("GlobalState._connect_and_get_accessor().get_placement_group_table"):
        from ray._private.state import state
        from ray.core.generated.gcs_pb2 import PlacementGroupTableData

        rows = map(PlacementGroupTableData.FromString, state._connect_and_get_accessor().get_placement_group_table())
        return [
            Group(
                row.placement_group_id.hex(),
                row.creator_job_id.hex(),
                is_created=row.state == PlacementGroupTableData.CREATED,
                is_detached=row.is_detached,
                resources=frozenset(kind for bundle in row.bundles for kind in bundle.unit_resources),
            )
            for row in rows
        ]


def groups_of_actors(job_id: str) -> set[str]:
    """Ids of the placement groups that hold an actor of this job which lives or is about to; asked of the GCS."""
    with _moved("GlobalState._connect_and_get_accessor().get_actor_table"):
        from ray._private.state import state
        from ray.core.generated.gcs_pb2 import ActorTableData

        accessor = state._connect_and_get_accessor()
        rows = map(ActorTableData.FromString, accessor.get_actor_table(ray.JobID(bytes.fromhex(job_id)), None))
        return {row.placement_group_id.hex() for row in rows if row.state != ActorTableData.DEAD}


def session_name() -> str:
    """The name of the cluster's session: job ids are unique only within one."""
    with _moved("ray._private.worker.global_worker.node"):
        from ray._private.worker import global_worker

        return str(global_worker.node.session_name)


@contextmanager
def on_loopback() -> Iterator[None]:
    """A cluster that is started in the block listens on loopback alone: Ray knows that only of Windows and macOS."""
    with _moved("ray._private.ray_constants.ENABLE_RAY_CLUSTER"):
        from ray._private import ray_constants

        before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def without_messages() -> Iterator[None]:
    """Where Ray is connected in the block, raylets print nothing here: twenty lines of their log where one has died.

    log_to_driver=False leaves that out.
    """
    with _moved("ray._private.worker.listen_error_messages"):
        from ray._private import worker

        before = worker.listen_error_messages
    worker.listen_error_messages = lambda *_: None
    try:
        yield
    finally:
        worker.listen_error_messages = before


class _Agent:
    """A child of the raylet: of its end nothing is known but that it came."""

    def __init__(self, process: Any) -> None:
        self.pid: int = process.pid
        self._process = process

    def kill(self) -> None:
        import psutil

        with suppress(psutil.NoSuchProcess):
            self._process.kill()

    def poll(self) -> int | None:
        import psutil  # Ray's own, found once Ray is imported

        with suppress(psutil.NoSuchProcess):
            if self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                return None
        return UNKNOWN


def cluster_processes() -> dict[str, Process]:
    """The processes, of the cluster that was started here, without which it is none: an agent takes the raylet along.

    The agents come first, for a raylet that ends by itself does so because of them.
    """
    with _moved("ray._private.worker.global_worker.node.all_processes"):
        from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET
        from ray._private.worker import global_worker

        found = global_worker.node.all_processes
        raylet, gcs = (found[kind][0].process for kind in (PROCESS_TYPE_RAYLET, PROCESS_TYPE_GCS_SERVER))
    return {**agents(raylet.pid), "raylet": raylet, "GCS": gcs}


def agents(raylet: int) -> dict[str, Process]:
    """The children of a raylet that it does not outlive."""
    import psutil

    children = [(" ".join(child.cmdline()), child) for child in psutil.Process(raylet).children()]
    return {
        name: _Agent(child)
        for name, marks in _AGENTS.items()
        for title, child in children
        if any(mark in title for mark in marks)
    }


def session_dir() -> Path:
    """Where the cluster that was started here keeps its logs and sockets."""
    with _moved("ray._private.worker.global_worker.node.get_session_dir_path"):
        from ray._private.worker import global_worker

        return Path(global_worker.node.get_session_dir_path())


def socket_dirs() -> list[Path]:
    """Temporary folders of Python's that its dashboard has sockets in, and leaves: Ray ends it without its exit."""
    import psutil

    with _moved("ray._private.worker.global_worker.node.all_processes"):
        from ray._private.ray_constants import PROCESS_TYPE_DASHBOARD
        from ray._private.worker import global_worker

        dashboards = [info.process.pid for info in global_worker.node.all_processes.get(PROCESS_TYPE_DASHBOARD, ())]
    found = set()
    for pid in dashboards:
        with suppress(psutil.Error):
            for process in (one := psutil.Process(pid), *one.children(recursive=True)):
                found |= {Path(str(socket.laddr)).parent for socket in process.net_connections("unix")}
    return [path for path in found if path.name.startswith("pymp-")]


def kill_cluster(processes: Mapping[str, Process]) -> None:
    """Kills what is left of the cluster that was started here, at once; agents outlive a dead GCS by half a minute."""
    with _moved("ray._private.worker.global_worker.node.kill_all_processes"):
        from ray._private.worker import global_worker

        if global_worker.node is not None:
            global_worker.node.kill_all_processes(check_alive=False, allow_graceful=False)
    for process in processes.values():
        process.kill()


def _entered(block: AbstractContextManager[None]) -> None:
    with block:
        pass


CHECKS: dict[str, Callable[[], object]] = {
    "trainer": lean_torch_trainer,
    "controllers": lambda: pass_on_to_controllers("RAY_ADDRESS"),
    "credentials": keep_credentials_out_of_tune,
    "start failed": group_start_failed,
    "start timed out": group_start_timed_out,
    "loopback": lambda: _entered(on_loopback()),
    "messages": lambda: _entered(without_messages()),
    "placement group": lambda: placement_group("00" * 18),
}

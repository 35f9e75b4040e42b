"""Everything that is used of Ray's private parts, with the reason; seen to work with Ray 2.60.

Each function fails with one sentence when Ray has moved what it needs (tests/study/execution/test_ray_internals.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

# One actor each, so one process more for every trial. No Ray Data set is used; and placement groups of killed
# controllers are freed by placement_groups.py, since Ray's own actor outlives a controller that is killed early.
UNUSED_CALLBACKS = ("DatasetsCallback", "PlacementGroupCleanerCallback")


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


def session_name() -> str:
    """The name of the cluster's session: job ids are unique only within one."""
    with _moved("ray._private.worker.global_worker.node"):
        from ray._private.worker import global_worker

        return str(global_worker.node.session_name)


CHECKS: dict[str, Callable[[], object]] = {
    "trainer": lean_torch_trainer,
    "controllers": lambda: pass_on_to_controllers("RAY_ADDRESS"),
    "credentials": keep_credentials_out_of_tune,
    "placement group": lambda: placement_group("00" * 18),
}

"""Which exceptions end a trial: a member's second one, and nothing that a lost machine or too little memory causes."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch.distributed as dist
from ray import tune
from ray.exceptions import RayActorError
from ray.train import ControllerError
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from study.execution import ray_internals, run_packs, trial
from study.execution.launch import NO_LIMIT, Launch, Trial, WorkerGroup
from study.execution.losses import Losses, Work
from study.execution.pack_source import PlannedPacks
from study.execution.trial import _TryOnceMore, run_trial
from trainables.training.failures import DoesNotFitError, MemberError

FIRST, SECOND = MemberError("a" * 16, "KeyError: 'x'"), MemberError("b" * 16, "KeyError: 'y'")
WORK = Work("c" * 16, ("a" * 16,), ("d" * 16,))
CONFIG = {"trial": Trial("name", None, [WORK])}
LAUNCH = Launch(None, WorkerGroup(1, 1.0, 0.0), {}, lambda *_, **__: None, Path("no-study"))
GLOO = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer")


class GettingOn(Losses):
    """With progress between any two losses; without: test_losses.py."""

    def __init__(self) -> None:
        super().__init__(Path("no-study"), [WORK])

    def seen(self) -> int:
        return 1


def test_the_second_exception_of_a_member_ends_the_trial() -> None:
    policy = _TryOnceMore(lambda *_, **__: None, "trial", GettingOn())
    policy.after_exception(None, {0: FIRST})
    policy.after_exception(None, {0: SECOND})
    with pytest.raises(MemberError, match="KeyError: 'x'"):
        policy.after_exception(None, {0: FIRST})


def test_what_went_wrong_is_logged_with_its_run_id() -> None:
    events: list[tuple[str, object, object]] = []
    policy = _TryOnceMore(
        lambda event, **facts: events.append((event, facts.get("run_id"), facts.get("final"))), "trial", GettingOn()
    )
    policy.after_exception(None, {0: RayActorError()})
    policy.after_exception(None, {0: FIRST})
    policy.after_exception(None, {0: GLOO})
    with pytest.raises(MemberError):
        policy.after_exception(None, {0: FIRST})
    failed = ("member_failed", FIRST.run_id)
    assert events == [
        ("worker_lost", None, None),
        (*failed, False),
        ("group_restarted", None, None),
        (*failed, True),
    ]


def test_the_same_exception_in_all_ranks_is_one() -> None:
    policy = _TryOnceMore(lambda *_, **__: None, "trial", GettingOn())
    policy.after_exception(None, {0: FIRST, 1: FIRST})
    with pytest.raises(MemberError):
        policy.after_exception(None, {0: GLOO, 1: FIRST})


def test_an_exception_outside_of_any_member_counts_too() -> None:
    policy = _TryOnceMore(lambda *_, **__: None, "trial", GettingOn())
    policy.after_exception(None, {0: ImportError("no module")})
    with pytest.raises(ImportError):
        policy.after_exception(None, {0: ImportError("no module")})


@pytest.mark.parametrize(
    "exceptions",
    [
        {0: RayActorError()},
        {0: WorkerHealthCheckFailedError("gone", failure=RayActorError())},
        {0: FIRST, 1: RayActorError()},  # what rank 0 says follows from the loss of rank 1
        {0: GLOO},
        {0: dist.DistBackendError("NCCL")},
        {0: DoesNotFitError("4 members")},
    ],
    ids=str,
)
def test_lost_machines_and_packs_that_are_too_large_do_not_count(exceptions: dict[int, Exception]) -> None:
    events: list[str] = []
    policy = _TryOnceMore(lambda event, **_: events.append(event), "trial", GettingOn())
    for _ in range(5):
        policy.after_exception(None, exceptions)
    assert len(events) == 5
    assert set(events) <= {"worker_lost", "group_restarted"}


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([None], (None, None)),
        ([RayActorError(), RayActorError(), None], (None, None)),
        ([ControllerError(FIRST)], ("KeyError: 'x'", "a" * 16)),
        ([RayActorError(), ControllerError(ValueError("bad"))], ("ValueError: bad", None)),
        ([TypeError("wrong")], ("TypeError: wrong", None)),
    ],
)
def test_a_lost_controller_is_replaced_and_a_failure_is_returned(
    outcomes: list[Exception | None], expected: tuple[str | None, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object) -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(trial, "_fit", fit)
    result = run_trial(CONFIG, LAUNCH)
    assert outcomes == []
    error, run_id = expected
    assert result["error"] == error if error is None else error in result["error"]
    assert result.get("run_id") == run_id


def test_a_controller_that_cannot_be_made_is_not_tried_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object) -> None:
        raise RayActorError(error_msg="no such storage", actor_init_failed=True)

    monkeypatch.setattr(trial, "_fit", fit)
    assert "no such storage" in run_trial(CONFIG, LAUNCH)["error"]


def test_what_ray_leaves_beside_a_controller_asks_this_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: dict[str, str] = {}

    class Trainer:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def fit(self) -> None:
            found.update(get_env_vars_to_propagate())

    monkeypatch.setenv("RAY_ADDRESS", "another:1")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="this:2"))
    monkeypatch.setattr(ray_internals, "lean_torch_trainer", lambda: Trainer)
    trial._fit(
        Trial("name", None, [WORK]),
        Launch(None, WorkerGroup(1, 1.0, 0.0), {"storage_path": str(tmp_path)}, print, tmp_path),
    )
    assert found["RAY_ADDRESS"] == "this:2"


def test_lost_workers_and_drivers_are_replaced_without_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limits: list[int] = []

    class Runs:
        def __init__(self, *_: object, run_config: Any, **__: object) -> None:
            limits.append(run_config.failure_config.max_failures)

        def fit(self) -> list[Any]:
            return []

    monkeypatch.setenv("RAY_ADDRESS", "this:2")  # what is set here is taken back
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="this:2"))
    monkeypatch.setattr(ray_internals, "lean_torch_trainer", lambda: Runs)
    launch = Launch(None, WorkerGroup(1, 1.0, 0.0), {"storage_path": str(tmp_path)}, print, tmp_path)
    trial._fit(Trial("name", None, [WORK]), launch)
    monkeypatch.setattr(run_packs.tune, "Tuner", Runs)
    monkeypatch.setattr(run_packs, "freed_placement_groups", lambda _study_dir: nullcontext())
    monkeypatch.setattr(run_packs.tune, "with_parameters", lambda run, **_: run)
    config: Any = SimpleNamespace(study_dir=tmp_path, max_device_hours=None)
    cluster: Any = SimpleNamespace(live_slots=lambda: 1, num_slots=1)
    run_packs.run_trials(config, launch, PlannedPacks([]), cluster)
    assert limits == [NO_LIMIT, NO_LIMIT]
    assert NO_LIMIT == -1  # as Ray has it


def test_drivers_take_no_cpu_and_are_beside_the_head_unless_they_are_many() -> None:
    few, many = run_packs.driver_resources(32), run_packs.driver_resources(512)
    assert few == {"CPU": 0, "node:__internal_head__": 0.001}
    assert many["CPU"] == 0
    assert many["memory"] > 0
    assert "node:__internal_head__" not in many
    for resources in (few, many):  # Tune refuses a trial that asks for nothing
        assert tune.PlacementGroupFactory([resources]).required_resources == {
            key: amount for key, amount in resources.items() if amount
        }

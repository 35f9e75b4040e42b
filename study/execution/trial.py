"""What a Tune trial runs: packs, one after the other, on the workers of one TorchTrainer; and a teacher's ranks.

Drivers and controllers only wait, so this module imports neither diffusers nor the engine; members travel through
them as a reference into Ray's object store, and only the workers open it.

Lost workers, drivers and machines are replaced, without limit as long as the packs get on (study/execution/losses.py):
a pack goes on from its checkpoint. A Python exception is tried once more, for it may have come from the machine, and
then ends the trial with what it says.
"""

from __future__ import annotations

import os
import secrets
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
import ray.train

from study.execution import ray_internals
from study.execution.launch import NO_LIMIT, Launch, Trial, WorkerGroup
from study.execution.losses import GroupLostError, Losses, LostError, lost


class _TryOnceMore(ray.train.UserCallback):  # type: ignore[misc]
    """Ends the training at the second exception in the work of one member (or, outside of any, of one kind).

    It also ends at the last of the losses without progress.
    """

    def __init__(self, log: Callable[..., None], trial: str, losses: Losses) -> None:
        self._log, self._trial, self._losses = log, trial, losses
        self._attempts: Counter[str] = Counter()

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called in the controller; what it raises ends the training, what it lets pass begins the group again."""
        errors = list(worker_exceptions.values())
        if any(type(error).__module__.startswith("ray.") for error in errors):
            lost("worker_lost", self._losses, errors, self._log, trial=self._trial)
            return  # Ray says that a worker is gone; what the others say follows from it
        from trainables.training.failures import DoesNotFitError, needs_new_group  # takes seconds, and is seldom needed

        for error in errors:
            if not needs_new_group(error):
                self._blame(error)
                return
        if any(isinstance(error, DoesNotFitError) for error in errors):  # the next group trains smaller parts
            self._log("group_restarted", trial=self._trial, errors=[str(error) for error in errors])
        else:
            lost("group_restarted", self._losses, errors, self._log, trial=self._trial)

    def _blame(self, error: Exception) -> None:
        run_id = getattr(error, "run_id", None)
        whose = run_id or type(error).__name__
        self._attempts[whose] += 1
        attempt = self._attempts[whose]
        self._log(
            "member_failed", trial=self._trial, run_id=run_id, attempt=attempt, final=attempt > 1, error=str(error)
        )
        if attempt > 1:
            raise error


def run_trial(config: dict[str, Any], launch: Launch) -> dict[str, Any]:
    """Trains the packs of config["trial"] on a worker group of its own; their rows are written when this returns.

    Returns {"error": None}, or the message of what failed twice and the run_id of the member that it failed for, or the
    cause of losses without progress and as "lost" the pack_id that they happened to.
    """
    trial: Trial = config["trial"]
    losses = Losses(launch.study_dir, trial.work)
    while True:
        try:
            _fit(trial, launch)
        except Exception as error:  # Tune would try it again without end
            try:
                _pass_over(getattr(error, "controller_failure", error), trial, losses, launch)
            except Exception as last:
                return _failed(last)
        else:
            return {"error": None}


def _pass_over(error: Exception, trial: Trial, losses: Losses, launch: Launch) -> None:
    """Counts the loss of a controller, and its workers with it, or of a worker before it began; raises any other error.

    A group that waits for its places is not lost.
    """
    if isinstance(error, ray.exceptions.RayActorError) and not error.actor_init_failed:
        lost("controller_lost", losses, [error], launch.log, trial=trial.name)
    elif isinstance(error, ray_internals.group_start_failed()):
        lost("worker_lost", losses, [error], launch.log, trial=trial.name)
    elif not isinstance(error, ray_internals.group_start_timed_out()):
        raise error


def _failed(error: Exception) -> dict[str, Any]:
    run_id, found = getattr(error, "run_id", None), isinstance(error, LostError)
    text = str(error) if run_id or found else "".join(traceback.format_exception(error))
    return {"error": text, "run_id": run_id, "lost": error.name if isinstance(error, LostError) else None}


def _fit(trial: Trial, launch: Launch) -> None:
    """One try at the packs. Ray Train replaces lost workers without limit, as long as they get on."""
    run_group(
        "train_worker",
        {"job": launch.job, "packs": trial.packs},
        launch.group,
        launch.storage,
        name=trial.name,
        max_failures=NO_LIMIT,
        callbacks=[_TryOnceMore(launch.log, trial.name, Losses(launch.study_dir, trial.work))],
    )


def run_group_once(
    worker: str, job: list[ray.ObjectRef], group: WorkerGroup, storage: Mapping[str, Any], name: str
) -> None:
    """Runs a worker group to its end or its first failure; waits for its places for as long as that takes.

    job: a reference to it, in a list.
    Raises what the code of a rank raised, or GroupLostError where a process and not its code failed.
    """
    while True:
        try:
            run_group(worker, {"job": job[0]}, group, storage, name=name, max_failures=0)
        except Exception as error:
            cause = getattr(error, "controller_failure", error)
            if isinstance(cause, ray_internals.group_start_timed_out()):
                continue
            raise _of_group(cause) from None
        return


def _of_group(error: Exception) -> Exception:
    """What ended a group: of its ranks' errors the one that is no consequence of another's end."""
    from trainables.training.failures import needs_new_group  # takes seconds, and is seldom needed

    errors: list[Exception] = list(getattr(error, "worker_failures", {0: error}).values())
    lost_workers = [one for one in errors if type(one).__module__.startswith("ray.")]
    own = [one for one in errors if not needs_new_group(one)]
    if own and not lost_workers:
        return own[0]
    return GroupLostError("\n".join(map(str, errors)))


def run_group(
    worker: str,
    config: dict[str, Any],
    group: WorkerGroup,
    storage: Mapping[str, Any],
    *,
    name: str,
    max_failures: int,
    callbacks: Sequence[ray.train.UserCallback] = (),
) -> None:
    """A run of Ray Train with bookkeeping of its own: where its work goes on is in the work's checkpoints alone.

    worker: the function of trainables/ray_train.py that every rank runs, with the config.
    What keeps Ray's list of trainings asks the cluster whether a controller lives: without an address the one that was
    started last on the machine, which may be another.
    """
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    ray_internals.pass_on_to_controllers("RAY_ADDRESS")
    trainer = ray_internals.lean_torch_trainer()(
        _worker_function(worker),
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=group.num_workers,
            use_gpu=group.gpus_per_worker > 0,
            resources_per_worker=group.resources,
            placement_strategy=group.placement_strategy,
        ),
        run_config=ray.train.RunConfig(
            name=f"{name}-{secrets.token_hex(4)}",
            **storage,
            # A group that does not start comes back here: Ray would start it again without end and without a word.
            failure_config=ray.train.FailureConfig(max_failures=max_failures, controller_failure_limit=0),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=list(callbacks),
        ),
    )
    trainer.fit()


def _worker_function(name: str) -> Any:
    """The worker's function as a closure: pickled by value, so that the controller between need not import it."""

    def train(config: dict[str, Any]) -> None:
        from trainables import ray_train

        getattr(ray_train, name)(config)

    return train

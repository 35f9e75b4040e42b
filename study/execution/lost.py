"""What the sweep itself does about losses without progress: drivers that Tune starts again, and whose fault it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune

from analysis.records.rows import finished_run_ids
from study.directory.layout import checkpoints_dir
from study.execution.failure import MemberLostError
from study.execution.losses import Losses, LostError, Work, lost
from study.planning.members import Pack
from study.watching.events import EventLog, log_dir
from trainables.training.checkpoints import Checkpoints


def work_of(pack: Pack) -> Work:
    """The pack by its names on the disk."""
    run_ids = tuple(member.run_id for member in pack.members)
    return Work(pack.pack_id, run_ids, tuple(member.train_id for member in pack.members))


def member_lost(study_dir: Path, pack: Pack, cause: str) -> MemberLostError:
    """Names the member that the pack was at: of a divided one the part in training, else what has no row yet."""
    finished = finished_run_ids(study_dir)
    left = [member for member in pack.members if member.run_id not in finished] or list(pack.members)
    at = Checkpoints(checkpoints_dir(study_dir) / pack.pack_id, None).in_training()
    return MemberLostError(next((member for member in left if member.run_id in at), left[0]), cause)


class LostDrivers(tune.Callback):  # type: ignore[misc]
    """Counts the drivers of each trial that were lost; `last`: a loss after which the sweep must stop."""

    def __init__(self, study_dir: Path) -> None:
        self.last: LostError | None = None
        self._study_dir, self._losses = study_dir.absolute(), dict[str, Losses]()
        self._log = EventLog(log_dir(study_dir.absolute()), "sweep")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Called by Tune when it is about to start a driver again."""
        planned = trial.config["trial"]
        losses = self._losses.setdefault(trial.trial_id, Losses(self._study_dir, planned.work))
        error = trial.get_pickled_error()
        try:
            lost("driver_lost", losses, [error] if error else [], self._log, trial=planned.name)
        except LostError as last:
            self.last = last

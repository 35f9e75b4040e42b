"""Weights & Biases, offline: nothing leaves the machine before you say so.

wandb sync <study_dir>/loggers/wandb/*/wandb/offline-run-*
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import wandb

from storage import new_folder, remove_temporaries, whole_folders
from study.loggers.content import Row, points, results, run_name, settings

_AGENT = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_ENTITY")


@dataclass(frozen=True)
class WandbLogger:
    """A member is a run: its curve the history, its row the config and the summary."""

    study: str
    folder: Path

    def written(self) -> set[str]:
        remove_temporaries(self.folder)
        return {path.name.rpartition("-")[2] for path in whole_folders(self.folder)}

    def write(self, row: Row, curve: Sequence[Row]) -> None:
        # Neither code, packages nor facts about the machine are put beside what the records say.
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_meta=True, x_disable_stats=True
        )
        with new_folder(self.folder / run_name(row)) as folder, _no_sweep():
            run = wandb.init(
                project=self.study,
                id=row["run_id"],
                name=run_name(row),
                group=f"{row['teacher'] or 'none'}-{row['method']}",
                mode="offline",
                dir=folder,
                config=settings(row),
                settings=quiet,
                reinit="create_new",
            )
            for step, values in points(curve):
                run.log(values, step=step)
            run.summary.update(results(row))
            run.finish()
            for link in [path for path in folder.rglob("*") if path.is_symlink()]:
                link.unlink()  # to where the folder is no more


@contextmanager
def _no_sweep() -> Iterator[None]:
    """Without the agent of a W&B sweep around us, for which wandb ignores the run's id and project."""
    kept = {name: os.environ.pop(name) for name in _AGENT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def open_logger(study: str, folder: Path) -> WandbLogger:
    return WandbLogger(study, folder)

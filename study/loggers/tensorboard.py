"""TensorBoard: a folder of event files a member. tensorboard --logdir <study_dir>/loggers/tensorboard"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tensorboardX import SummaryWriter

from storage import new_folder, remove_temporaries, whole_folders
from study.loggers.content import Row, points, results, run_name, settings, time_of


@dataclass(frozen=True)
class TensorBoardLogger:
    """A member's curve as scalars, its row as the scalars `result/...` and a text."""

    folder: Path

    def written(self) -> set[str]:
        remove_temporaries(self.folder)
        return {path.name.rpartition("-")[2] for path in whole_folders(self.folder)}

    def write(self, row: Row, curve: Sequence[Row]) -> None:
        with new_folder(self.folder / run_name(row)) as folder, SummaryWriter(str(folder), flush_secs=3600) as writer:
            for step, values in points(curve):
                for name, value in values.items():
                    writer.add_scalar(f"curve/{name}", value, step, walltime=time_of(row, step).timestamp())
            end = time_of(row, row["steps"]).timestamp()
            for name, value in results(row).items():
                writer.add_scalar(f"result/{name}", value, row["steps"], walltime=end)
            table = "".join(f"| {name} | `{value}` |\n" for name, value in settings(row).items())
            writer.add_text("member", f"| | |\n|-|-|\n{table}", row["steps"], walltime=end)


def open_logger(study: str, folder: Path) -> TensorBoardLogger:
    return TensorBoardLogger(folder)

"""How far packs and teachers are: a small file of each, beside its checkpoints, written by the worker that trains it.

    <study_dir>/checkpoints/<pack_id or teacher_id>/progress.json   {"steps": 120, "run_ids": [...], "time": "..."}

The progress bar, the metrics and study.status all read these files, so they show the same numbers wherever they run.
The files go with the checkpoints, when the rows or the teacher exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from storage import is_local, new_file
from study.directory.layout import checkpoints_dir

_NAME = "progress.json"


@dataclass(frozen=True)
class Progress:
    """Steps taken of a pack or a teacher, when they were taken, and the runs of the pack."""

    steps: int
    time: datetime
    run_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProgressFiles:
    """Writes the progress of a study's packs and teachers; for workers."""

    folder: Path  # checkpoints
    _runs: dict[str, Sequence[str]] = field(default_factory=dict)

    @property
    def interval_seconds(self) -> float:
        """Between two writes: an object store takes its time for each."""
        return 2.0 if is_local(self.folder) else 15.0

    def __call__(self, name: str, steps: int, run_ids: Sequence[str] | None = None) -> None:
        """Writes the steps taken; name: pack_id or teacher_id; run_ids: of the pack, given once, at its start.

        A file that cannot be written is no reason to stop: the next one follows.
        """
        if run_ids is not None:
            self._runs[name] = list(run_ids)
        now = datetime.now(UTC).isoformat()
        content = {"steps": steps, "run_ids": self._runs.get(name, []), "time": now}
        with suppress(OSError), new_file(self.folder / name / _NAME) as file:
            file.write(json.dumps(content).encode())


def read_steps(folder: Path) -> int:
    """The steps that a pack or a teacher had taken when it last said so; -1 where it has not begun."""
    try:
        return int(json.loads((folder / _NAME).read_bytes())["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def read_progress(study_dir: Path, since: datetime | None = None) -> Mapping[str, Progress]:
    """Progress by pack_id or teacher_id; with `since` only what was written from then on."""
    found = {}
    for path in checkpoints_dir(study_dir).glob(f"*/{_NAME}"):
        with suppress(OSError, ValueError, KeyError, TypeError):  # removed meanwhile, or written by another program
            content = json.loads(path.read_bytes())
            moment = datetime.fromisoformat(content["time"])
            if since is None or moment >= since:
                found[path.parent.name] = Progress(int(content["steps"]), moment, tuple(content["run_ids"]))
    return found

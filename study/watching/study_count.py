"""The one count of a study: which members are finished, running and waiting, and how many steps were taken.

The progress bar, the metrics and study.status all count with it: from the plan, the records and the progress files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.records.rows import outcome, read_new_runs
from study.planning.members import Pack
from study.watching.progress import Progress, read_progress
from trainables.specs import Member

RUNNING, WAITING = "running", "waiting"
COLUMNS = (
    *("run_id", "phase", "status", "teacher", "method", "seed", "fid", "steps", "diverged_at_step"),
    *("device_seconds", "finished_at", "train_seconds", "macs_per_second", "device"),
)
NO_TEACHER = "none"


@dataclass
class StudyCount:
    """Members by state. `refresh` reads what is new: each row once, and all progress files.

    since: progress that was written before is of an earlier sweep, whose packs do not run any more.
    """

    study_dir: Path
    since: datetime | None = field(default_factory=lambda: datetime.now(UTC))
    collapse_fid: float | None = None  # above it a member has collapsed
    members: dict[str, Member] = field(default_factory=dict)  # planned, by run_id
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # by run_id
    progress: Mapping[str, Progress] = field(default_factory=dict)  # by pack_id or teacher_id
    _running: set[str] = field(default_factory=set)

    def plan(self, members: Iterable[Member]) -> None:
        """Adds members that the study will run."""
        self.members.update({member.run_id: member for member in members})

    def refresh(self) -> None:
        """Raises ValueError for a damaged row, OSError while the study directory is away."""
        for run_id, row in read_new_runs(self.study_dir, self.rows).items():
            self.rows[run_id] = {column: row[column] for column in COLUMNS}
        self.progress = read_progress(self.study_dir, self.since)
        self._running = {run_id for one in self.progress.values() for run_id in one.run_ids} - set(self.rows)

    def state(self, run_id: str) -> str:
        """What the member's row says (ok, collapsed, diverged), or running, or waiting."""
        if run_id in self.rows:
            return self._outcome(self.rows[run_id])
        return RUNNING if run_id in self._running else WAITING

    def in_state(self, state: str) -> list[Member]:
        """The planned members in this state."""
        return [member for run_id, member in self.members.items() if self.state(run_id) == state]

    def by_cell(self) -> Counter[tuple[str, str, str]]:
        """Members by teacher, method and state: planned ones, and those with a row."""
        found: Counter[tuple[str, str, str]] = Counter(
            (*cell_of(member), self.state(run_id))
            for run_id, member in list(self.members.items())
            if run_id not in self.rows
        )
        found.update((row["teacher"] or NO_TEACHER, row["method"], self._outcome(row)) for row in self.rows.values())
        return found

    def _outcome(self, row: Mapping[str, Any]) -> str:
        return outcome(row["status"], row["fid"], self.collapse_fid)

    def member_steps(self, packs: Sequence[Pack]) -> int:
        """Steps taken of these packs' members; a member with a row has taken all of its budget."""
        return sum(self._steps_of(pack, member) for pack in packs for member in pack.members)

    def steps_of(self, name: str) -> int:
        """Steps taken of a pack or a teacher that runs; 0 where it does not."""
        return self.progress[name].steps if name in self.progress else 0

    def _steps_of(self, pack: Pack, member: Member) -> int:
        budget = member.train.steps
        return budget if member.run_id in self.rows else min(self.steps_of(pack.pack_id), budget)

    def pack_states(self, packs: Sequence[Pack]) -> Counter[str]:
        """How many of the packs are running, waiting and done."""
        return Counter(self._pack_state(pack) for pack in packs)

    def _pack_state(self, pack: Pack) -> str:
        if all(member.run_id in self.rows for member in pack.members):
            return "done"
        return RUNNING if pack.pack_id in self.progress else WAITING


def cell_of(member: Member) -> tuple[str, str]:
    """The names of the member's teacher and method."""
    return member.teacher.name if member.teacher else NO_TEACHER, member.method.name

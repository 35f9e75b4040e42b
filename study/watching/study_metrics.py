"""What the sweep shows of its study in metrics: members by state, FID, device-seconds, packs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import ray
from ray.actor import ActorHandle

from analysis.records.rows import outcome, read_new_runs
from study.execution.pack_source import PackSource
from study.planning.members import Pack
from study.watching.periodic import looking
from study.watching.prometheus import set_gauge, teacher_of

_SECONDS_BETWEEN = 2.0
_COLUMNS = ("teacher", "method", "status", "fid", "device_seconds")


@dataclass
class Census:
    """Counts a study again and again, reading every row once.

    board: who knows the packs that were begun.
    """

    study: str
    study_dir: Path
    board: ActorHandle
    collapse_fid: float | None = None  # above it a member has collapsed
    _planned: dict[str, Pack] = field(default_factory=dict)  # by pack_id
    _rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # by run_id
    _shown: set[tuple[str, str, str]] = field(default_factory=set)

    def plan(self, packs: Sequence[Pack]) -> None:
        """These packs will run, or are about to."""
        self._planned.update({pack.pack_id: pack for pack in packs})

    @contextmanager
    def shown(self, source: PackSource) -> Iterator[None]:
        """Sets the metrics again and again while the block runs the packs of the source, and once more at its end."""

        def look() -> None:
            self.plan(source.waiting)
            # Records or a cluster that are away for a moment are no reason to stop: the next look will do.
            with suppress(Exception):
                self.show(set(ray.get(self.board.steps.remote())))

        with looking(look, seconds=_SECONDS_BETWEEN):
            yield
        with suppress(Exception):
            self.show(set())

    def show(self, begun: set[str]) -> None:
        """Sets all metrics now; begun: ids of packs that were begun."""
        for run_id, row in read_new_runs(self.study_dir, self._rows).items():
            self._rows[run_id] = {column: row[column] for column in _COLUMNS}
        members: Counter[tuple[str, str, str]] = Counter()
        packs: Counter[str] = Counter()
        for pack in list(self._planned.values()):
            left = [member for member in pack.members if member.run_id not in self._rows]
            state = "running" if pack.pack_id in begun else "waiting"
            packs[state if left else "done"] += 1
            members.update((teacher_of(member), member.method.name, state) for member in left)
        members.update(
            (*_cell(row), outcome(row["status"], row["fid"], self.collapse_fid)) for row in self._rows.values()
        )
        for state in ("running", "waiting", "done"):
            set_gauge("packs", {"study": self.study, "state": state}, packs[state])
        self._shown |= set(members)
        for teacher, method, state in self._shown:  # also those that are none any more
            set_gauge("members", {**self._tags(teacher, method), "state": state}, members[teacher, method, state])
        self._show_rows()

    def _show_rows(self) -> None:
        cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in self._rows.values():
            cells[_cell(row)].append(row)
        for (teacher, method), rows in cells.items():
            tags = self._tags(teacher, method)
            fids = [row["fid"] for row in rows if row["fid"] is not None]
            set_gauge("device_seconds", tags, sum(row["device_seconds"] or 0.0 for row in rows))
            set_gauge("fid", tags, fmean(fids) if fids else None)

    def _tags(self, teacher: str, method: str) -> dict[str, str]:
        return {"study": self.study, "teacher": teacher, "method": method}


def _cell(row: dict[str, Any]) -> tuple[str, str]:
    return row["teacher"] or "none", row["method"]

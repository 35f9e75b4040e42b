"""What the sweep says of its study in metrics: members by state, FID, device-seconds, packs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from study.planning.members import Pack
from study.watching.prometheus import set_gauge
from study.watching.study_count import NO_TEACHER, RUNNING, WAITING, StudyCount


@dataclass
class StudyMetrics:
    """Sets the metrics of a study from its count. packs(): those that the sweep runs, as far as they are known."""

    study: str
    count: StudyCount
    packs: Callable[[], Sequence[Pack]]
    _shown: set[tuple[str, str, str]] = field(default_factory=set)

    def show(self) -> None:
        """Sets all metrics from the count as it is now."""
        members = self.count.by_cell()
        packs = self.count.pack_states(self.packs())
        for state in (RUNNING, WAITING, "done"):
            set_gauge("packs", {"study": self.study, "state": state}, packs[state])
        self._shown |= set(members)
        for teacher, method, state in self._shown:  # also those that are zero now
            set_gauge("members", {**self._tags(teacher, method), "state": state}, members[teacher, method, state])
        self._show_rows()

    def _show_rows(self) -> None:
        cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in self.count.rows.values():
            cells[row["teacher"] or NO_TEACHER, row["method"]].append(row)
        for (teacher, method), rows in cells.items():
            tags = self._tags(teacher, method)
            fids = [row["fid"] for row in rows if row["fid"] is not None]
            set_gauge("device_seconds", tags, sum(row["device_seconds"] or 0.0 for row in rows))
            set_gauge("fid", tags, fmean(fids) if fids else None)

    def _tags(self, teacher: str, method: str) -> dict[str, str]:
        return {"study": self.study, "teacher": teacher, "method": method}

"""What goes wrong while a sweep runs, in lines for its terminal and for study.status, from the study's logs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis.status.status import printable
from storage import is_local
from study.watching.events import has_facts, is_event, log_dir

_WHO = {
    "worker_lost": "a worker",
    "group_restarted": "a worker group",
    "controller_lost": "a controller",
    "driver_lost": "a driver",
    "teacher_lost": "the process of a teacher",
}
_LOOKS_BEFORE_SAID = 3
_STORE_SECONDS = 15.0  # between two looks at the logs in an object store


def describe_trouble(event: Mapping[str, Any]) -> str | None:
    """An exception or a loss in a line that begins with its time; None for any other event."""
    when, said = event["time"][11:19], _said(event)
    if event["event"] == "member_failed":
        what = "failed for good" if event["final"] else "failed and is tried again"
        return f"{when} {what}{said}"
    if event["event"] == "placement_groups_unknown" and event.get("in_a_row") == _LOOKS_BEFORE_SAID:
        return f"{when} the cluster does not say who holds its places, so that none are freed{said}"
    if event["event"] not in _WHO:
        return None
    whose = f" ({event['teacher']})" if isinstance(event.get("teacher"), str) else ""
    if isinstance(number := event.get("without_progress"), int) and number > 1:
        return f"{when} {_WHO[event['event']]}{whose} was lost again without progress, {number} in a row{said}"
    return f"{when} {_WHO[event['event']]}{whose} was lost, its work goes on{said}"


def _said(event: Mapping[str, Any]) -> str:
    """What is known of the cause: as it was found out, or else the end of what was raised."""
    if isinstance(event.get("cause"), str):
        return f": {event['cause']}"
    errors = event.get("errors")
    for error in (event.get("error"), *(errors if isinstance(errors, list) else [])):
        if error and str(error).strip():
            return ": " + str(error).strip().splitlines()[-1].split(". ")[0][:200]
    return ""


class Trouble:
    """The new lines of a sweep's trouble at each call, and where lost work is taken up again."""

    def __init__(self, study_dir: Path, since: datetime) -> None:
        self._folder, self._since = log_dir(study_dir), since
        self._read: dict[str, tuple[int, int]] = {}  # by file: its size when it was read, and how many lines were
        self._begun: set[str] = set()
        self._next = 0.0

    def __call__(self) -> list[str]:
        """Lines that a terminal can show. Raises OSError while the logs are away."""
        if time.monotonic() < self._next:
            return []
        self._next = time.monotonic() + (0.0 if is_local(self._folder) else _STORE_SECONDS)
        lines = [self._line(event) for event in sorted(self._new(), key=lambda event: str(event["time"]))]
        return [printable(line) for line in lines if line is not None]

    def _line(self, event: Mapping[str, Any]) -> str | None:
        if event["event"] != "pack_started":
            return describe_trouble(event)
        if event["pack_id"] not in self._begun:
            self._begun.add(event["pack_id"])
            return None
        return f"{event['time'][11:19]} pack {event['pack_id']} is taken up again, from step {event.get('saved_steps')}"

    def _new(self) -> Iterator[dict[str, Any]]:
        for path in self._folder.glob("*.jsonl"):
            size, seen = path.stat().st_size, self._read.get(path.name, (0, 0))
            if size == seen[0]:
                continue
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what ends with no newline is being written
            fresh = lines[seen[1] :] if len(lines) >= seen[1] else lines  # the file was begun anew
            self._read[path.name] = (size, len(lines))
            for line in fresh:
                with suppress(ValueError):
                    event = json.loads(line)
                    if is_event(event) and has_facts(event) and datetime.fromisoformat(event["time"]) >= self._since:
                        yield event

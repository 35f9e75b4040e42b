"""Structured logs: JSON lines in <study_dir>/logs/, a file for every process that has something to say.

    {"time": "2026-01-31T12:00:00.000+00:00", "event": "member_finished", "run_id": "...", "fid": 31.4}

No two processes write the same file, so nothing is torn; a file is replaced as a whole at every line, so it can lie
where nothing can be appended. A file holds its first and its newest lines, MAX_LINES of them, and a study the newest
MAX_FILES files. They are for people and for study.status: no result hangs on them. They hold what a caller names, never
the environment, and no credentials of an address.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage import is_local, new_file

MAX_LINES = 500
MAX_FILES = 200
MAX_TEXT = 2000  # characters of one value
_NAME = re.compile(r"\d{8}T\d{6}-[a-z]+-[A-Za-z0-9._-]+-\d+\.jsonl\Z")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_FACTS: Mapping[str, Mapping[str, type]] = {
    "pack_started": {"pack_id": str, "run_ids": list, "seeds": list, "steps": int},
    "pack_ended": {"pack_id": str},
    "member_failed": {"run_id": str, "final": bool},
    "sweep_ended": {"outcome": str},
}
_lines: dict[tuple[Path, str], list[str]] = {}  # of this process, by file
_STARTED = datetime.now(UTC)


@dataclass(frozen=True)
class EventLog:
    """Says what happened, on behalf of a role (sweep, worker, controller) in whichever process it is called."""

    folder: Path
    role: str

    def __call__(self, event: str, **facts: Any) -> None:
        """Writes one line. A log that cannot be written is no reason to stop: it says so on stderr once."""
        key = (self.folder, self.role)
        lines = _lines.setdefault(key, [])
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines.append(
            json.dumps({"time": now, "event": event, **{name: _plain(value) for name, value in facts.items()}})
        )
        del lines[MAX_LINES // 10 : max(MAX_LINES // 10, len(lines) - MAX_LINES * 9 // 10)]
        try:
            _write(self.folder / _file_name(self.role), "\n".join(lines) + "\n")
        except OSError as error:
            if len(lines) == 1:
                print(f"no log is written in {self.folder}: {error}", file=sys.stderr)


def log_dir(study_dir: Path) -> Path:
    return study_dir / "logs"


def read_events(study_dir: Path) -> list[dict[str, Any]]:
    """Every event of the study that is kept, in order of time; lines that are none are passed over."""
    return sorted(_events(study_dir), key=lambda event: str(event["time"]))


def has_facts(event: Mapping[str, Any]) -> bool:
    """Whether an event has what readers ask of its kind, each of its type."""
    facts = _FACTS.get(event["event"], {})
    if not all(isinstance(event.get(key), kind) for key, kind in facts.items()):
        return False
    return all(isinstance(item, str | int) for key in ("run_ids", "seeds") if key in facts for item in event[key])


def remove_old_logs(study_dir: Path) -> None:
    """Keeps the newest MAX_FILES of the files that have the name of a log, where they lie in the study itself."""
    folder = log_dir(study_dir)
    if is_local(folder) and folder.is_symlink():
        return
    for path in sorted(path for path in folder.glob("*.jsonl") if _NAME.match(path.name))[:-MAX_FILES]:
        path.unlink(missing_ok=True)


@contextmanager
def logged_sweep(study_dir: Path, **facts: Any) -> Iterator[None]:
    """Says that a sweep starts, with these facts, and how it ends."""
    remove_old_logs(study_dir)
    log = EventLog(log_dir(study_dir), "sweep")
    log("sweep_started", **facts)
    outcome: dict[str, Any] = {"outcome": "done"}
    try:
        yield
    except KeyboardInterrupt:
        outcome = {"outcome": "interrupted"}
        raise
    except BaseException as error:
        outcome = {
            "outcome": "failed",
            "error": str(error),
            "run_id": getattr(getattr(error, "member", None), "run_id", None),
        }
        raise
    finally:
        log("sweep_ended", **outcome)


def _events(study_dir: Path) -> Iterator[dict[str, Any]]:
    for path in log_dir(study_dir).glob("*.jsonl"):
        with suppress(OSError, UnicodeDecodeError):  # removed meanwhile
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict) and _has_time(event) and isinstance(event.get("event"), str):
                        yield event


def _has_time(event: Mapping[str, Any]) -> bool:
    try:
        datetime.fromisoformat(event["time"])
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _write(path: Path, text: str) -> None:
    with new_file(path) as file:
        file.write(text.encode())


def _file_name(role: str) -> str:
    """Sorts by the time at which its process started."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:40]
    return f"{_STARTED:%Y%m%dT%H%M%S}-{role}-{host}-{os.getpid()}.jsonl"


def _plain(value: Any) -> Any:
    if isinstance(value, str | Path):
        text = _CREDENTIALS.sub("***@", str(value))
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT // 4] + " ... " + text[-MAX_TEXT * 3 // 4 :]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None  # no JSON number
    return value if value is None or isinstance(value, bool | int | float) else _plain(str(value))

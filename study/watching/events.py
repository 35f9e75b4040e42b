"""Structured logs: JSON lines in <study_dir>/logs/, a file for every process that has something to say.

    {"time": "2026-01-31T12:00:00.000+00:00", "event": "member_finished", "run_id": "...", "fid": 31.4}

The standard library's logging with a JSON formatter; no two processes write one file, so no line is torn. On a file
system lines are appended; in an object store, where nothing can be appended, the file is kept on the local disk and
uploaded after every line. A file is rotated at MAX_BYTES, and a study keeps the newest MAX_FILES files. They are for
people and for study.status: no result depends on them. They hold what a caller names, never the environment, and no
credentials of an address.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from storage import is_local, new_file

MAX_BYTES = 1_000_000  # of a file; one older part of it is kept
MAX_FILES = 200
MAX_TEXT = 2000  # characters of one value
_NAME = re.compile(r"\d{8}T\d{6}-[a-z]+-[A-Za-z0-9._-]+-\d+\.jsonl(\.1)?\Z")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_FACTS: Mapping[str, Mapping[str, type]] = {
    "pack_started": {"pack_id": str, "run_ids": list, "seeds": list, "steps": int},
    "pack_ended": {"pack_id": str},
    "member_failed": {"run_id": str, "final": bool},
    "sweep_ended": {"outcome": str},
}
_STARTED = datetime.now(UTC)


@dataclass(frozen=True)
class EventLog:
    """Says what happened, on behalf of a role (sweep, worker, controller), in the process in which it is called."""

    folder: Path
    role: str

    def __call__(self, event: str, **facts: Any) -> None:
        """Writes one line. A log that cannot be written is no reason to stop: it says so on stderr once."""
        _logger(self.folder, self.role).info(event, extra={"facts": facts})


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
    for path in sorted(path for path in folder.glob("*.jsonl*") if _NAME.match(path.name))[:-MAX_FILES]:
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
        run_id = getattr(getattr(error, "member", None), "run_id", None)
        outcome = {"outcome": "failed", "error": str(error), "run_id": run_id}
        raise
    finally:
        log("sweep_ended", **outcome)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {name: _as_json(value) for name, value in record.facts.items()}  # type: ignore[attr-defined]
        return json.dumps({"time": moment, "event": record.getMessage(), **facts})


class _EventFile(RotatingFileHandler):
    """Appends to a file of the study's logs, or to a local one that is uploaded there."""

    def __init__(self, target: Path) -> None:
        self._target = target
        if is_local(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            local = target
        else:
            self._temporary = tempfile.TemporaryDirectory()
            local = Path(self._temporary.name, target.name)
        super().__init__(local, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8")
        self.setFormatter(_JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if not is_local(self._target):
            try:
                with new_file(self._target) as file:
                    file.write(Path(self.baseFilename).read_bytes())
            except OSError:
                self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """A line for which the disk has no room is left out; any other error is one of this program."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            raise error


@cache
def _logger(folder: Path, role: str) -> logging.Logger:
    """A logger of its own, which no other configuration of logging touches."""
    logger = logging.Logger(f"{role} {folder}")
    try:
        logger.addHandler(_EventFile(folder / _file_name(role)))
    except OSError as error:
        print(f"no log is written in {folder}: {error}", file=sys.stderr)
        logger.addHandler(logging.NullHandler())
    return logger


def _events(study_dir: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(log_dir(study_dir).glob("*.jsonl*"), reverse=True):  # the older part of a file before the newer
        with suppress(OSError, UnicodeDecodeError):  # removed meanwhile
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    event = json.loads(line)
                    if is_event(event):
                        yield event


def is_event(found: Any) -> bool:
    """Whether what a line of a log holds is an event: with a time and a name."""
    return isinstance(found, dict) and _has_time(found) and isinstance(found.get("event"), str)


def _has_time(event: Mapping[str, Any]) -> bool:
    try:
        datetime.fromisoformat(event["time"])
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _file_name(role: str) -> str:
    """Sorts by the time at which its process started."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:40]
    return f"{_STARTED:%Y%m%dT%H%M%S}-{role}-{host}-{os.getpid()}.jsonl"


def _as_json(value: Any) -> Any:
    """The value as JSON, with long text cut and credentials of an address taken out."""
    if isinstance(value, str | Path):
        text = _CREDENTIALS.sub("***@", str(value))
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT // 4] + " ... " + text[-MAX_TEXT * 3 // 4 :]
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None  # no JSON number
    return value if value is None or isinstance(value, bool | int | float) else _as_json(str(value))

"""Writes finished members to loggers beside the sweep, and what is missing at its end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records.rows import read_curve, read_new_runs
from study.loggers.table import Logger, open_logger

_SECONDS_BETWEEN = 5.0


@contextmanager
def exporting(names: Sequence[str], study: str, study_dir: Path) -> Iterator[None]:
    """Writes members to the loggers while the block runs and, whatever it raises, those that are left at its end.

    A logger that fails is left out from then on, with a line on stderr: what it shows can be written again from the
    records, and no member is lost with it.
    """
    if not names:
        yield
        return
    stop = threading.Event()

    def export() -> None:
        exports = [_Export(name, study, study_dir) for name in names]
        while True:
            stopping = stop.wait(_SECONDS_BETWEEN)
            for one in exports:
                one.write_new()
            if stopping:
                return

    thread = threading.Thread(target=export)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass
class _Export:
    """One logger and what it has."""

    name: str
    study: str
    study_dir: Path
    _logger: Logger | None = None
    _written: set[str] = field(default_factory=set)
    _failed: bool = False

    def write_new(self) -> None:
        """Writes the members that it does not have, in the order in which they finished."""
        if self._failed:
            return
        try:
            if self._logger is None:
                self._logger = open_logger(self.name, self.study, self.study_dir)
                self._written = self._logger.written()
            for row in sorted(read_new_runs(self.study_dir, self._written).values(), key=_finished):
                self._logger.write(row, read_curve(self.study_dir, row["run_id"]).to_pylist())
                self._written.add(row["run_id"])
        except Exception as error:  # other people's packages fail in whatever way
            self._failed = True
            print(
                f"warning: logger {self.name} failed and is left out: {type(error).__name__}: {error};"
                " the same command again writes what is missing",
                file=sys.stderr,
            )


def _finished(row: dict[str, Any]) -> tuple[float, str]:
    return row["finished_at"].timestamp() if row["finished_at"] else 0.0, row["run_id"]

"""kd-study status study_dir=... [watch_seconds=10]: what is done and what is left, here and in report/status.html.

`python -m study.status` is the same.

    kd-study status study_dir=studies/digits
    kd-study status study_dir=studies/digits watch_seconds=10    again and again, until the sweep ends
"""

from __future__ import annotations

import sys
import time

from analysis.status.status import RUNNING, terminal_status
from analysis.terminal import folded
from storage import location, new_file
from study.config.command_line import compose, entry_point, require_study

_CLEAR = "\033[H\033[2J"


def main(argv: list[str]) -> int:
    """Prints the status of the study and writes its page; with watch_seconds again and again until the sweep ends."""
    cfg = compose("status", argv)
    if cfg.study_dir is None:
        raise ValueError("study_dir must be given: study_dir=<a study's directory>")
    if cfg.watch_seconds is not None and not (isinstance(cfg.watch_seconds, int | float) and cfg.watch_seconds > 0):
        raise ValueError(f"watch_seconds must be null or a number above 0 but got {cfg.watch_seconds!r}")
    if not isinstance(cfg.plugins, bool):
        raise ValueError(f"plugins must be true or false but got {cfg.plugins!r}")
    study_dir = location("study_dir", str(cfg.study_dir))
    require_study(study_dir)

    from analysis.status.page import render_status
    from study.directory.layout import report_dir
    from study.watching.find_status import find_status, planned_study

    page = report_dir(study_dir) / "status.html"
    while True:
        status = find_status(planned_study(study_dir, plugins=cfg.plugins))
        clear = _CLEAR if cfg.watch_seconds is not None and sys.stdout.isatty() else ""
        print(f"{clear}{folded(terminal_status(status))}\n")
        try:
            with new_file(page) as file:
                file.write(render_status(status, cfg.watch_seconds).encode())
            print(f"page: {page}", flush=True)
        except OSError as error:  # a study may be readable and not writable
            print(f"page: not written, {error}", flush=True)
        if cfg.watch_seconds is None or status.state != RUNNING:
            return 0
        try:
            time.sleep(cfg.watch_seconds)
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    entry_point(main)

"""python -m study.sweep: plans the study, runs the members that have no row yet, and writes the report."""

from __future__ import annotations

import shlex

from study.config.command_line import compose, entry_point


def main(argv: list[str]) -> int:
    """Runs the study that the Hydra overrides in argv describe.

    Exit code 0 done, 1 failed, 3 its budget is spent, 130 interrupted.
    """
    from study.execution.ending import ended
    from study.run import run_study

    cfg = compose("config", argv)
    command = shlex.join(["python", "-m", "study.sweep", *argv])
    return ended(lambda: run_study(cfg, command), command)


if __name__ == "__main__":
    entry_point(main)

"""python -m study.sweep: plans the study, runs the members that have no row yet, and writes the report."""

from __future__ import annotations

import errno
import os
import shlex
import sys

from study.config.command_line import compose, entry_point


def main(argv: list[str]) -> int:
    """Runs the study that the Hydra overrides in argv describe.

    Exit code 0 done, 1 failed, 3 its budget is spent, 130 interrupted.
    """
    from storage import full_disk
    from study import run

    cfg = compose("config", argv)
    command = shlex.join(["python", "-m", "study.sweep", *argv])
    try:
        return run.run_study(cfg, command)
    except KeyboardInterrupt:
        print(
            f"\ninterrupted: finished members are kept; run the same command again to go on:\n  {command}",
            file=sys.stderr,
        )
        return 130
    except Exception as error:  # a full disk raises errors of many types
        if full_disk(error):
            print(
                f"failed: the disk of the study is full ({os.strerror(errno.ENOSPC)}); finished members are kept;"
                f" make room and run the same command again to go on:\n  {command}",
                file=sys.stderr,
            )
            return 1
        if not isinstance(error, RuntimeError):
            raise
        from study.execution.run_packs import BudgetSpentError

        is_spent = isinstance(error, BudgetSpentError)
        print(
            f"{'stopped' if is_spent else 'failed'}: {error}\nfinished members are kept;"
            f" run the same command again to go on:\n  {command}",
            file=sys.stderr,
        )
        return 3 if is_spent else 1


if __name__ == "__main__":
    entry_point(main)

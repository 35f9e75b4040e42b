"""How a command that trains ends: its last sentence, the way to go on, and its exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from storage import full_disk
from study.directory.lease import LostLeaseError
from study.execution.run_packs import BudgetSpentError
from study.execution.watchdog import ClusterDiedError, said_last


def ended(work: Callable[[], int], command: str) -> int:
    """The exit code of work(): its own, 1 failed, 3 its budget is spent, 130 interrupted. `command` goes on with it."""
    go_on = f"run the same command again to go on:\n  {command}"
    last = f"finished members are kept; {go_on}"
    try:
        with said_last(lambda cause: _say(f"\nfailed: {cause}\n{last}")):
            return work()
    except KeyboardInterrupt:
        _say(f"\ninterrupted: finished members are kept; {go_on}")
        return 130
    except BudgetSpentError as error:
        _say(f"stopped: {error}\nfinished members are kept; {go_on}")
        return 3
    except ClusterDiedError:
        return 1
    except Exception as error:  # a full disk raises errors of many types
        if full_disk(error):
            full = os.strerror(errno.ENOSPC)
            _say(f"failed: the disk of the study is full ({full}); finished members are kept; make room and {go_on}")
        elif isinstance(error, LostLeaseError):  # what was finished may be gone
            _say(f"failed: {error}\n{go_on}")
        elif isinstance(error, RuntimeError):
            _say(f"failed: {error}\nfinished members are kept; {go_on}")
        else:
            raise
        return 1


def _say(what: str) -> None:
    print(what, file=sys.stderr)

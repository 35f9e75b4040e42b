"""A cluster that was started here and dies is noticed: without, a sweep would wait for it, or end without a word.

Ray's driver ends a minute after its GCS is gone, whatever it does then, and never where the raylet is gone, which
ends itself when one of its agents is gone. So the processes are looked at; when one has ended the main thread is
interrupted, and where that does not get it out of Ray in time, the last words are said for it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Protocol

from study.directory.lease import give_back

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 20.0  # for the main thread; ray.shutdown takes up to ten where the GCS is gone
_said_last: list[Callable[[str], object]] = []


class ClusterDiedError(RuntimeError):
    """The cluster that was started here is gone."""


class Process(Protocol):
    def poll(self) -> int | None: ...


@contextmanager
def said_last(say: Callable[[str], object]) -> Iterator[None]:
    """say(cause) is what is said for the block where its thread cannot be waited for."""
    _said_last.append(say)
    try:
        yield
    finally:
        _said_last.remove(say)


@contextmanager
def watched(processes: Mapping[str, Process], kill_rest: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Raises ClusterDiedError in place of whatever the block raises, and soon, when one of its processes has ended.

    The block calls what it is given before it ends them itself. Where the block does not end in time this process does,
    with exit code 1: the lease is given back, kill_rest() is called, and what `said_last` has is said.
    """
    found: list[str] = []
    expected, stop, main = threading.Event(), threading.Event(), threading.main_thread().ident or 0

    def look() -> None:
        if not expected.is_set():
            found.extend(_ended(processes))

    def expect() -> None:
        look()  # what ends the block may be the first that is seen of it
        expected.set()

    def repeat() -> None:
        while not stop.wait(_LOOK_SECONDS):
            look()
            if found:
                signal.pthread_kill(main, signal.SIGINT)
                if not stop.wait(_PATIENCE_SECONDS):
                    _end(found[0], kill_rest)
                return

    watching = threading.Thread(target=repeat, daemon=True)
    watching.start()
    try:
        yield expect
    except BaseException:
        if found:
            raise ClusterDiedError(found[0]) from None
        raise
    finally:
        stop.set()


def _ended(processes: Mapping[str, Process]) -> list[str]:
    """A sentence for every process that has ended."""
    codes = {name: code for name, process in processes.items() if (code := process.poll()) is not None}
    return [f"the local Ray cluster has died: its {name} {_how(code)}" for name, code in codes.items()]


def _how(code: int) -> str:
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended by itself (exit code {code}), as it does when one of its agents is gone"


def _end(cause: str, kill_rest: Callable[[], object]) -> None:
    give_back()
    for say in _said_last:
        say(cause)
    with suppress(Exception):
        kill_rest()
    sys.stderr.flush()
    os._exit(1)

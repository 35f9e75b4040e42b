"""A cluster that was started here and dies is noticed: without, a sweep would wait for it, or end without a word.

Once the raylet is gone, Ray ends its driver as soon as that touches the shared memory, in C++ and without a word; a
minute after the GCS is gone, too; else it waits for ever. An agent that dies takes the raylet along. So the processes
are watched, and when one ends what is to be said is said and the lease is given back at once; then the main thread is
interrupted, and not waited for without end. What Ray's Python parts log from then on follows from it, and is not shown.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

from study.directory.lease import give_back

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 20.0  # for the main thread; ray.shutdown takes up to ten where the GCS is gone
UNKNOWN = 256  # the exit code of a process that is not a child of this one
_said_last: list[Callable[[str], object]] = []


class ClusterDiedError(RuntimeError):
    """The cluster that was started here is gone; it has been said."""


class Process(Protocol):
    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def kill(self) -> None: ...


@contextmanager
def said_last(say: Callable[[str], object]) -> Iterator[None]:
    """say(cause) is what is said, in the block, when the cluster has died."""
    _said_last.append(say)
    try:
        yield
    finally:
        _said_last.remove(say)


@contextmanager
def watched(processes: Mapping[str, Process], kill_rest: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Raises ClusterDiedError in place of whatever the block raises, and soon, when one of its processes has ended.

    Before, what `said_last` has is said and the lease is given back. The block calls what it is given before it ends
    the processes itself, and is told whether all live. Where the block does not end in time, kill_rest() is called and
    this process ends with code 1.
    """
    watch = _Watch(processes)
    stop, main = threading.Event(), threading.main_thread().ident or 0

    def repeat() -> None:
        with _wakes(processes) as wait:
            while not stop.is_set():
                wait()
                if watch.look():
                    watch.interrupt(main)
                    if not stop.wait(_PATIENCE_SECONDS):
                        _end(kill_rest)
                    return

    watching = threading.Thread(target=repeat, daemon=True)
    try:
        watching.start()  # it may interrupt at once
        yield watch.expect
    except BaseException:
        watch.expect()
        if watch.cause is not None:
            raise ClusterDiedError(watch.cause) from None
        raise
    finally:
        stop.set()
        if watch.cause is not None:
            logging.disable(logging.NOTSET)


class _Watch:
    """Sees that a process has ended, and does at once what must be done then; once."""

    def __init__(self, processes: Mapping[str, Process]) -> None:
        self.cause: str | None = None
        self._processes, self._expected, self._lock = processes, False, threading.Lock()

    def look(self) -> bool:
        """Whether one has ended that should not."""
        with self._lock:
            if self.cause is None and not self._expected:
                self.cause = _ended(self._processes)
                if self.cause is not None:
                    logging.disable()
                    for say in _said_last:
                        say(self.cause)
                    give_back()
            return self.cause is not None

    def expect(self) -> bool:
        """From now on they may end; what is over already is seen. Returns whether all live."""
        over = self.look()
        with self._lock:
            self._expected = True
        return not over

    def interrupt(self, thread: int) -> None:
        """Interrupts the thread of the block unless that is at its end."""
        with self._lock:
            if not self._expected:
                signal.pthread_kill(thread, signal.SIGINT)


@contextmanager
def _wakes(processes: Mapping[str, Process]) -> Iterator[Callable[[], object]]:
    """A wait that ends after a moment, or at once when one of the processes ends, where the system can tell (Linux)."""
    ended = select.poll()
    with ExitStack() as opened:
        for process in processes.values():
            with suppress(AttributeError, OSError):
                handle = os.pidfd_open(process.pid)
                opened.callback(os.close, handle)
                ended.register(handle, select.POLLIN)
        yield lambda: ended.poll(1000 * _LOOK_SECONDS)


def _ended(processes: Mapping[str, Process]) -> str | None:
    """A sentence about the process whose end was the first: one that was killed, else the first in order."""
    codes = {name: code for name, process in processes.items() if (code := process.poll()) is not None}
    if not codes:
        return None
    name = min(codes, key=lambda name: codes[name] >= 0)
    return f"the local Ray cluster has died: its {name} {_how(codes[name])}"


def _how(code: int) -> str:
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return "is gone" if code == UNKNOWN else f"ended by itself (exit code {code})"


def _end(kill_rest: Callable[[], object]) -> None:
    with suppress(Exception):
        kill_rest()
    sys.stderr.flush()
    os._exit(1)

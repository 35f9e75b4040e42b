"""Calls a function at intervals, in a thread, while a block runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LARGEST_SHARE = 0.05  # of a core is spent on the calls, however large the study
_PATIENCE_SECONDS = 1.0


@contextmanager
def called_every(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    """Calls call() while the block runs, `seconds` after the last time, or later where a call takes much CPU time.

    call handles its own errors: what it raises ends the calls. The end of the block waits a second for a call to end.
    """
    stop = threading.Event()

    def repeat() -> None:
        pause = seconds
        while not stop.wait(pause):
            started = time.thread_time()
            call()
            pause = max(seconds, (time.thread_time() - started) / _LARGEST_SHARE)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=_PATIENCE_SECONDS)

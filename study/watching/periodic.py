"""Looks at something again and again, in a thread, while a block runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LARGEST_SHARE = 0.05  # of a core is spent on looking, however large the study
_PATIENCE_SECONDS = 1.0


@contextmanager
def looking(look: Callable[[], object], *, seconds: float) -> Iterator[None]:
    """Calls look() while the block runs, `seconds` after the last time, or later where a look takes much CPU time.

    look handles its own errors: what it raises ends the looking. The block's end waits a second for a look to end.
    """
    stop = threading.Event()

    def watch() -> None:
        pause = seconds
        while not stop.wait(pause):
            started = time.thread_time()
            look()
            pause = max(seconds, (time.thread_time() - started) / _LARGEST_SHARE)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=_PATIENCE_SECONDS)

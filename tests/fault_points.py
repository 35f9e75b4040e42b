"""Runs a writer in a process of its own that kills itself at each point where it is about to change the disk."""

import builtins
import io
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_OPENERS = ((builtins, "open"), (io, "open"), (os, "open"))
_TIMEOUT_SECONDS = 60.0


def killed_at_every_point(write: Callable[[], None]) -> Iterator[int]:
    """Yields 1, 2, ... after write() was killed at its 1st, 2nd, ... change; ends when write() came to its end.

    A change is a rename, a folder made, a removal or an fsync (killed just before), or a file opened to write (killed
    just after, when it is empty).
    """
    point = 1
    while _was_killed(write, point):
        yield point
        point += 1


def _was_killed(write: Callable[[], None], point: int) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads; the child needs one
        child = os.fork()
    if child == 0:
        _write_and_die(write, point)
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        time.sleep(0.001)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise TimeoutError(f"the writer hangs at point {point}")
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the writer failed"
    return False


def _write_and_die(write: Callable[[], None], point: int) -> None:
    num_changes = 0

    def count() -> None:
        nonlocal num_changes
        num_changes += 1
        if num_changes == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES:
            count()

    def counting(change: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            if before:
                count()
            result = change(*arguments, **settings)
            if not before and _is_for_writing(*arguments, **settings):
                count()
            return result

        return call

    status = 1
    try:
        os.fsync = counting(os.fsync, before=True)
        for module, name in _OPENERS:
            setattr(module, name, counting(getattr(module, name), before=False))
        sys.addaudithook(hook)
        write()
        status = 0
    finally:
        os._exit(status)


def _is_for_writing(_path: object, mode: str | int = "r", *_: Any, **__: Any) -> bool:
    """Of the arguments of open, or of os.open, whose second is a number of flags."""
    if isinstance(mode, int):
        return bool(mode & (os.O_WRONLY | os.O_RDWR))
    return any(letter in mode for letter in "wax+")

"""A file that takes long to make is made by one process, on whichever machine, while all others wait for it.

Processes of one machine wait at a lock, which ends with its holder. Between machines that share a file system the maker
has a claim beside the file, `.<name>.making`, into which it writes a new beat every second: one whose beat stands still
is taken over by who waits. In an object store nothing can be claimed, so there every machine may make it.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.changes import create, overwrite
from storage.copies import locked
from storage.paths import is_local

BEAT_SECONDS = 1.0
STALE_SECONDS = 20.0  # without a beat


@contextmanager
def one_maker(
    path: Path,
    is_made: Callable[[], bool],
    *,
    beat_seconds: float = BEAT_SECONDS,
    stale_seconds: float = STALE_SECONDS,
) -> Iterator[bool]:
    """Whether the file is still to be made, by this process alone; others that ask wait until it is made.

    Where the maker fails, the next one that waits makes it.
    """
    if is_made():
        yield False
        return
    with locked(path):
        if not is_local(path):
            yield not is_made()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        claim = path.with_name(f".{path.name}.making")
        if not _claimed(is_made, claim, beat_seconds, stale_seconds):
            yield False
            return
        stop = threading.Event()
        beating = threading.Thread(target=_beat, args=(claim, beat_seconds, stop), daemon=True)
        beating.start()
        try:
            yield not is_made()
        finally:
            stop.set()
            beating.join()
            claim.unlink(missing_ok=True)


def _claimed(is_made: Callable[[], bool], claim: Path, beat_seconds: float, stale_seconds: float) -> bool:
    """Waits until the claim is this process', or the file is made."""
    seen, since = b"", time.monotonic()
    while not is_made():
        with suppress(FileExistsError):
            create(claim, secrets.token_hex(8).encode())
            return True
        with suppress(FileNotFoundError):
            if (now := claim.read_bytes()) != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > stale_seconds:
                claim.unlink()
        time.sleep(beat_seconds / 4)
    return False


def _beat(claim: Path, beat_seconds: float, stop: threading.Event) -> None:
    with suppress(OSError):  # taken over, or it cannot be written any more
        while not stop.wait(beat_seconds):
            overwrite(claim, secrets.token_hex(8).encode())

"""One sweep at a time on a study directory, on one machine or on a file system that several share.

The lease is the file <study_dir>/sweep.lease, made by creating it exclusively, which also holds on NFS (locks do not
everywhere). Its owner writes a new beat into it every second. A lease is stale when its beat does not change while
somebody watches, so no clocks are compared; where its process was on this machine and is gone, nobody needs to watch.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.records import finished_run_ids
from study.disk import full_disk

BEAT_SECONDS = 1.0
STALE_SECONDS = 20.0  # without a beat: a machine that stands still for so long has lost its lease
_SINCE = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


@contextmanager
def lease(
    study_dir: Path, *, beat_seconds: float = BEAT_SECONDS, stale_seconds: float = STALE_SECONDS
) -> Iterator[None]:
    """Holds the study directory, which is made where there is none and removed again when nothing was put into it.

    Raises ValueError saying who holds it, or that it cannot be written; OSError when the disk is full. The block is
    interrupted (KeyboardInterrupt) when somebody took the lease over because this process stood still.
    """
    token = secrets.token_hex(8)
    try:
        made = [folder for folder in (study_dir, *study_dir.parents) if not folder.exists()]
        study_dir.mkdir(parents=True, exist_ok=True)
        handle = _take(study_dir, token, stale_seconds)
    except OSError as error:
        if full_disk(error):
            raise
        raise ValueError(
            f"study_dir must be a directory that can be written but {study_dir} cannot: {error.strerror}"
        ) from error
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(_path(study_dir), handle, token, beat_seconds, stop), daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
        os.close(handle)
        if _token(_read(_path(study_dir))) == token:
            _path(study_dir).unlink(missing_ok=True)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _path(study_dir: Path) -> Path:
    return study_dir / "sweep.lease"


def _take(study_dir: Path, token: str, stale_seconds: float) -> int:
    """The lease, open for its beats: they go to this file, also when another one has come to its place."""
    path = _path(study_dir)
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            _remove_stale(path, _wait_until_stale(study_dir, stale_seconds), token)
            continue
        try:
            _write(handle, token, 0)
        except OSError:
            os.close(handle)
            path.unlink()
            raise
        return handle


def _wait_until_stale(study_dir: Path, stale_seconds: float) -> bytes | None:
    """The lease when it is stale, None when it is gone; raises ValueError as soon as its owner shows that it lives."""
    path = _path(study_dir)
    first, started = _read(path), time.monotonic()
    while not _is_gone(first) and time.monotonic() - started < stale_seconds:
        time.sleep(0.1)
        now = _read(path)
        if now is None:
            return None
        if now != first and _facts(now):
            facts, finished = _facts(now), len(finished_run_ids(study_dir))
            raise ValueError(
                f"study_dir={study_dir} is in use: a sweep runs there since {facts.get('since')}"
                f" (host {facts.get('host')}, pid {facts.get('pid')}, {finished} members finished so far);"
                " wait for it, or choose another study_dir"
            )
    return first


def _remove_stale(path: Path, stale: bytes | None, token: str) -> None:
    """Of several that found a lease stale one removes it; the lease of one that was quicker is put back."""
    aside = path.with_name(f".{path.name}.{token}.tmp")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _token(_read(aside)) != _token(stale):
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _beat(path: Path, handle: int, token: str, seconds: float, stop: threading.Event) -> None:
    beat = missed = 0
    while not stop.wait(seconds):
        beat += 1
        with suppress(OSError):  # a file system that is away for a while: the next beat tries again
            found = _read(path)
            if _token(found) != token:
                missed += 1
                if missed > 1:  # once: somebody only looked (_remove_stale)
                    print(f"{path} was taken over by another sweep: this one stood still", file=sys.stderr)
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    return
                continue
            missed = 0
            _write(handle, token, beat)


def _write(handle: int, token: str, beat: int) -> None:
    """Overwrites the lease in place: it is of the same length at every beat."""
    facts = {"host": socket.gethostname(), "pid": os.getpid(), "process": _process(os.getpid()), "since": _SINCE}
    os.pwrite(handle, json.dumps({**facts, "token": token, "beat": f"{beat:012d}"}).encode(), 0)
    os.fsync(handle)  # on NFS others see it only then


def _process(pid: int) -> str | None:
    """The process for good: machine as booted, pid namespace and start time; None where it is gone or not Linux."""
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else f"{booted} {Path('/proc/self/ns/pid').readlink()} {facts[18]}"
    except (OSError, ValueError, IndexError):
        return None


def _is_gone(content: bytes | None) -> bool:
    """Whether the owner was a process of this machine that is no more."""
    facts = _facts(content)
    process, here = facts.get("process"), _process(os.getpid())
    if not isinstance(process, str) or here is None or not isinstance(facts.get("pid"), int):
        return False
    same_machine = process.split()[:-1] == here.split()[:-1]
    return same_machine and _process(facts["pid"]) != process


def _facts(content: bytes | None) -> dict[str, Any]:
    """What a lease says; nothing while it is being written."""
    try:
        found = json.loads(content or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _token(content: bytes | None) -> Any:
    return _facts(content).get("token")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None

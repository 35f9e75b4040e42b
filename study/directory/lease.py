"""One sweep at a time on a study directory, on one machine or on a file system that several share.

A lease is a file <study_dir>/sweep-<token>.lease of its owner alone, into which the owner writes a new beat every
second. Who wants the study waits until every other lease is gone or stale, makes its own, and looks once more: where
another has come meanwhile it withdraws and begins again. Of two at least one sees the other, so two never hold it; and
nobody's lease is ever moved by another but a stale one, so no lock, rename or exclusive creation is asked of the file
system, and an object store will do.
A lease is stale when its beat does not change while somebody watches, so no clocks are compared; where its process was
on this machine and is gone, nobody needs to watch.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.records.rows import finished_run_ids
from storage import create, full_disk, is_local, made_folders, overwrite
from study.directory.claim import LEASE, MARKER, claim, claim_again, require_claimable

BEAT_SECONDS = 1.0
STALE_SECONDS = 20.0  # without a beat: a machine that stands still for so long has lost its lease
_held: set[Path] = set()  # by this process
_SINCE = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


class LostLeaseError(RuntimeError):
    """The study directory is not this process' any more, or cannot be written; the message says why."""


@contextmanager
def lease(
    study_dir: Path, *, beat_seconds: float = BEAT_SECONDS, stale_seconds: float = STALE_SECONDS
) -> Iterator[None]:
    """Holds the study directory, which is made where there is none and removed again when nothing was put into it.

    Raises ValueError saying who holds it, or that it cannot be written; OSError when the disk is full. The block is
    interrupted when study.cancel asks for it (KeyboardInterrupt), and when the directory was removed, cannot be written
    or was taken over because this process stood still: then LostLeaseError is raised in place of what the block raises.
    """
    own = study_dir / f"sweep-{secrets.token_hex(8)}.lease"
    require_claimable(study_dir)
    try:
        made = made_folders(study_dir)
        claimed = claim(study_dir)
        _take(own, stale_seconds)
    except OSError as error:
        if full_disk(error):
            raise
        raise ValueError(
            f"study_dir must be a directory that can be written but {study_dir} cannot: {_reason(error)}"
        ) from error
    stop, why_lost = threading.Event(), list[str]()
    beating = threading.Thread(target=_beat, args=(own, beat_seconds, stale_seconds, stop, why_lost), daemon=True)
    _held.add(own)
    beating.start()
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) and not why_lost:
            why_lost += _found_lost(own)
        if why_lost:
            raise LostLeaseError(why_lost[0]) from None
        raise
    finally:
        _held.discard(own)
        stop.set()
        beating.join()
        with suppress(OSError):  # where the directory cannot be written any more, the lease goes stale
            own.unlink(missing_ok=True)
            _cancelled(own).unlink(missing_ok=True)
            if claimed and {path.name for path in study_dir.iterdir()} == {MARKER}:
                (study_dir / MARKER).unlink()
            for folder in made:
                folder.rmdir()
        with suppress(OSError):
            claim_again(study_dir)


def give_back() -> None:
    """Removes what leases this process holds, for its end at once: they beat no more."""
    for own in list(_held):
        _held.discard(own)
        with suppress(OSError):
            own.unlink(missing_ok=True)


@dataclass(frozen=True)
class Holder:
    """Whose lease is on a study directory, in words, and whether it showed life."""

    lives: bool
    describe: str


def holder(study_dir: Path, patience_seconds: float = 4.0) -> Holder | None:
    """Who holds the study directory, known to live by a beat that changes while this watches; None where nobody does.

    Takes about a second beside a sweep that lives, and all of the patience beside the lease of one that was killed on
    another machine.
    """
    first, started = {path: _read(path) for path in _leases(study_dir)}, time.monotonic()
    first = {path: content for path, content in first.items() if not is_gone(content)}
    if not first:
        return None
    while time.monotonic() - started < patience_seconds:
        time.sleep(0.1)
        for path, before in first.items():
            now = _read(path)
            if now is not None and now != before and _facts(now):
                return Holder(True, f"a sweep runs there since {_who(_facts(now))}")
    said = ", ".join(_who(_facts(content)) for content in first.values())
    return Holder(False, f"the sweep of {said} shows no life since {patience_seconds:.0f} s")


def ask_to_stop(study_dir: Path) -> None:
    """Asks whoever holds the study directory to stop, wherever it runs: it is interrupted at its next beat."""
    for own in _leases(study_dir):
        if not is_gone(_read(own)) and not _cancelled(own).exists():
            create(_cancelled(own), b"")
            if not own.exists():  # it ended meanwhile
                _cancelled(own).unlink(missing_ok=True)


def is_held(study_dir: Path) -> bool:
    """Whether there is a lease whose owner is not known to be gone."""
    return any(not is_gone(_read(own)) for own in _leases(study_dir))


def _cancelled(own: Path) -> Path:
    """What the owner of the lease looks for at every beat."""
    return own.with_suffix(".cancel")


def _who(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('since')} (host {facts.get('host')}, pid {facts.get('pid')})"


def _take(own: Path, stale_seconds: float) -> None:
    """Makes the own lease. Raises ValueError as soon as the owner of another shows that it lives."""
    while True:
        stale = _wait_until_stale(own.parent, stale_seconds)
        create(own, _content(0))
        if _leases(own.parent) <= {own, *stale}:
            for path in stale:
                path.unlink(missing_ok=True)
            _remove_stale_cancels(own.parent)
            return
        own.unlink(missing_ok=True)
        time.sleep(random.uniform(0.0, 0.2))  # whom it met draws another time


def _remove_stale_cancels(study_dir: Path) -> None:
    """Removes what asked sweeps to stop that have ended since."""
    for path in study_dir.glob("sweep-*.cancel"):
        if LEASE.match(path.name) and not path.with_suffix(".lease").exists():
            path.unlink(missing_ok=True)


def _wait_until_stale(study_dir: Path, stale_seconds: float) -> set[Path]:
    """The leases that are there when none of them shows life any more."""
    first, started = {path: _read(path) for path in _leases(study_dir)}, time.monotonic()
    while not all(map(is_gone, first.values())) and time.monotonic() - started < stale_seconds:
        time.sleep(0.1)
        for path, before in first.items():
            now = _read(path)
            if now is not None and now != before and _facts(now):
                raise ValueError(_in_use(study_dir, _facts(now)))
        first = {path: before for path, before in first.items() if path.exists()}
    return set(first)


def _in_use(study_dir: Path, facts: Mapping[str, Any]) -> str:
    return (
        f"study_dir={study_dir} is in use: a sweep runs there since {facts.get('since')}"
        f" (host {facts.get('host')}, pid {facts.get('pid')}, {len(finished_run_ids(study_dir))} members finished so"
        " far); wait for it, or choose another study_dir"
    )


def _leases(study_dir: Path) -> set[Path]:
    return {path for path in study_dir.glob("sweep-*.lease") if LEASE.match(path.name)}


def _beat(own: Path, seconds: float, stale_seconds: float, stop: threading.Event, why_lost: list[str]) -> None:
    """Beats until `stop`, or until the lease is lost (why_lost) or study.cancel asks for the end: then interrupts."""
    beat, last = 0, time.monotonic()
    while not stop.wait(seconds) and own in _held:
        beat += 1
        try:
            lost = _why_lost(own, beat, stale_at=last + stale_seconds)
            last = time.monotonic()
            cancelled = lost is None and _cancelled(own).exists()
        except OSError as error:  # a file system that is away for a while: the next beat tries again
            if time.monotonic() - last < stale_seconds:
                continue
            lost, cancelled = f"{own.parent} cannot be written since {stale_seconds:g} s: {_reason(error)}", False
        if lost is not None:
            why_lost.append(lost)
        elif cancelled:
            print("\nstopped by study.cancel", file=sys.stderr)
        if lost is not None or cancelled:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return


def _found_lost(own: Path) -> list[str]:
    """Why the lease is lost, or none: looked for after an error, which may be due to that."""
    if own not in _held or not is_local(own):
        return []
    try:
        lost = _why_lost(own, 0, stale_at=0.0)
    except OSError as error:
        lost = None if full_disk(error) else f"{own.parent} cannot be written any more: {_reason(error)}"
    return [] if lost is None else [lost]


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _why_lost(own: Path, beat: int, stale_at: float) -> str | None:
    """Beats; says in a sentence why the lease is lost, None where it is held.

    In an object store another sweep may have removed it in the middle of the beat, which makes it again. It makes its
    own first; so a sweep that stood still looks for others after its beat, and gives way.
    """
    taken_over = f"{own.parent} was taken over by another sweep: this one stood still"
    try:
        overwrite(own, _content(beat))
    except FileNotFoundError:
        if _leases(own.parent):
            return taken_over
        if is_local(own) and not own.parent.exists():
            return f"{own.parent} is not there any more: it was removed or moved while the sweep ran"
        return f"{own} was removed by another program, so another sweep may start on the same study"
    if is_local(own) or time.monotonic() < stale_at or _leases(own.parent) <= {own}:
        return None
    own.unlink(missing_ok=True)
    return taken_over


def _content(beat: int) -> bytes:
    """Of the same length at every beat."""
    facts = {"host": socket.gethostname(), "pid": os.getpid(), "process": process_of(os.getpid()), "since": _SINCE}
    return json.dumps({**facts, "beat": f"{beat:012d}"}).encode()


def process_of(pid: int) -> str | None:
    """The process for good: machine as booted, pid namespace and start time; None where it is gone or not Linux."""
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else f"{booted} {Path('/proc/self/ns/pid').readlink()} {facts[18]}"
    except (OSError, ValueError, IndexError):
        return None


def is_gone(content: bytes | None) -> bool:
    """Whether the owner, as a lease says it (pid and process), was a process of this machine that is no more."""
    facts = _facts(content)
    process, here = facts.get("process"), process_of(os.getpid())
    if not isinstance(process, str) or here is None or not isinstance(facts.get("pid"), int):
        return False
    same_machine = process.split()[:-1] == here.split()[:-1]
    return same_machine and process_of(facts["pid"]) != process


def _facts(content: bytes | None) -> dict[str, Any]:
    """What a lease says; nothing while it is being written."""
    try:
        found = json.loads(content or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None

"""What the machine must give a sweep, and what Ray keeps on it.

What it must give is asked before anything is started: each lack is one line that says what to set.
"""

from __future__ import annotations

import json
import locale
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from study.config.study import LOCAL
from study.directory.lease import is_gone, process_of

_SOCKET_BYTES = 107  # of an AF_UNIX path
_SESSION = "ray/session_2026-01-31_23-59-59_999999_9999999/sockets/plasma_store"  # as Ray names it in its folder
_SESSION_LATEST = "session_latest"  # Ray's link to the session that began last
_SESSION_NAME = re.compile(r"session_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6}_\d+\Z")
_OWNER, _OWNER_BYTES = "kd-study-owner.json", 4096
_REMOVALS = 10
_GIVEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_SAID = "±×–"  # what reports and status say besides ASCII
_SHARED_MEMORY, _SHARED_BYTES = Path("/dev/shm"), 64 * 10**6


def require_machine(address: str) -> None:
    """Raises ValueError naming what is missing for Ray's own folders and for what is printed and written.

    address: cluster.address; on a cluster that runs already the folders are its own.
    """
    _require_encoding("standard output", getattr(sys.stdout, "encoding", None) or "ascii")
    _require_encoding("files", locale.getencoding() if not sys.flags.utf8_mode else "utf-8")
    if address != LOCAL:
        return
    _require_temporary(Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"))
    if "RAY_AUTH_TOKEN" not in os.environ:
        _require_home(Path(os.environ.get("HOME") or "~").expanduser())
    _warn_of_shared_memory()


def _require_encoding(what: str, encoding: str) -> None:
    try:
        _SAID.encode(encoding)
    except UnicodeEncodeError as error:
        raise ValueError(f"the encoding of {what} is {encoding}, which cannot say '±': set PYTHONUTF8=1") from error


def _require_temporary(folder: Path) -> None:
    """Raises ValueError where Ray could not make its sockets."""
    length = len(os.fsencode(folder / _SESSION))
    if length > _SOCKET_BYTES:
        longest = _SOCKET_BYTES - len(_SESSION) - 1
        raise ValueError(
            f"TMPDIR={folder} is too long for Ray's sockets ({length} bytes, of which a path may have {_SOCKET_BYTES}):"
            f" set RAY_TMPDIR to a folder whose path has at most {longest} bytes"
        )
    _require_writable(folder, "TMPDIR", "a folder that can be written")


def _require_home(home: Path) -> None:
    """Raises ValueError where Ray could not keep the token of its clusters."""
    if not (home / ".ray" / "auth_token").is_file():
        _require_writable(home, "HOME", "a folder that can be written: Ray keeps its token there")


def _require_writable(folder: Path, name: str, allowed: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{name}={folder} cannot be written ({error.strerror}): set {name} to {allowed}") from error


def _warn_of_shared_memory() -> None:
    if not _SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if free < _SHARED_BYTES:
        print(
            f"warning: {_SHARED_MEMORY} has {free / 1e6:.0f} MB free, so Ray keeps what it shares in TMPDIR, which is"
            " slower; give it more (docker run --shm-size=1g)",
            file=sys.stderr,
        )


def keep_token_private() -> None:
    """Makes the token, 0600 in 0700, where Ray would make one; warns where one that is there is not private.

    For before ray.init starts a cluster. A token that comes from the environment is left to its giver.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or any(os.environ.get(name) for name in _GIVEN):
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            print(f"warning: {path} can be read by other users of this machine: chmod 600 {path}", file=sys.stderr)
        return
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    path.parent.chmod(0o700)


def own_session(folder: Path) -> None:
    """Says in the folder of a Ray session that this process made it, for `remove_dead_sessions`."""
    facts = {"pid": os.getpid(), "process": process_of(os.getpid())}
    (folder / _OWNER).write_text(json.dumps(facts))


def disown_session(folder: Path) -> None:
    """From now on the folder stays: somebody is to read Ray's logs."""
    (folder / _OWNER).unlink(missing_ok=True)


def remove_dead_sessions(folder: Path) -> None:
    """Removes what sweeps that were killed left in Ray's temporary folder.

    That is the folder of a session that is this user's, no link, says that a sweep made it which is gone, and is in no
    command line of a process that runs.
    """
    dead = [path for path in folder.glob("session_*") if _SESSION_NAME.match(path.name) and _owner_is_gone(path)]
    if dead:
        running = list(_command_lines())
        remove_folders([path for path in dead if not any(os.fsencode(path) in line for line in running)])


def _owner_is_gone(session: Path) -> bool:
    try:
        facts = session.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
            return False
        handle = os.open(session / _OWNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            return os.fstat(file.fileno()).st_uid == os.getuid() and is_gone(file.read(_OWNER_BYTES))
    except OSError:
        return False


def _command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):  # where there is no /proc, no process is known to be gone
        with suppress(OSError):
            yield path.read_bytes()


def remove_folders(folders: Sequence[Path]) -> None:
    """Removes what a cluster that has ended leaves in the temporary folder; its last processes may still be ending."""
    for folder in folders:
        latest = folder.with_name(_SESSION_LATEST)
        if latest.is_symlink() and latest.readlink() == folder:
            latest.unlink(missing_ok=True)
        for _ in range(_REMOVALS):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.2)

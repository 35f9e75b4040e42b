"""What the machine must give a sweep, asked before anything is started: each lack is one line that says what to set."""

from __future__ import annotations

import locale
import os
import shutil
import sys
import tempfile
from pathlib import Path

from study.config.study import LOCAL

_SOCKET_BYTES = 107  # of an AF_UNIX path
_SESSION = "ray/session_2026-01-31_23-59-59_999999_9999999/sockets/plasma_store"  # as Ray names it in its folder
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

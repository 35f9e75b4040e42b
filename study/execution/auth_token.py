"""Ray's token (~/.ray/auth_token) is made for its user alone; Ray itself would let others read it."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

_GIVEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


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

"""Text -> a place: a local path, or one of an object store that answers."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any, cast

from storage.paths import SCHEMES

_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<root>[^/?#@:\s]+)/(?P<key>[^?#:\s]*[^?#:\s/])/*\Z")
_ANSWER_SECONDS = 8.0


def location(key: str, text: str) -> Path:
    """The place that the text names. Nothing is made there.

    Raises ValueError naming the key, within ten seconds, for what is no path, another scheme, packages that are not
    installed, a bucket that is not there, and a store that does not answer or does not let us in.
    """
    if not text.isprintable():
        raise ValueError(f"{key} must be a path of printable characters but got {text!r}")
    if "://" in text:
        return _remote(key, text)
    try:
        Path(text).exists()  # says no where there is nothing, and raises where there can be nothing
    except OSError as error:
        raise ValueError(f"{key} must be a path that there can be but got {text}: {error.strerror}") from error
    return Path(text)


def _remote(key: str, text: str) -> Path:
    match = _URI.match(text)
    if match is None or "/../" in f"/{match['key']}/":
        raise ValueError(
            f"{key} must be a path or of the form s3://bucket/prefix (credentials come from the environment)"
            f" but got {re.sub('://.*@', '://...@', text)!r}"
        )
    path = _path(key, match["scheme"], f"{match['scheme']}://{match['root']}/{match['key']}")
    _require_answer(key, path, match["root"])
    return path


def _path(key: str, scheme: str, uri: str) -> Path:
    if scheme not in SCHEMES:
        allowed = ", ".join(f"{one}://" for one in SCHEMES)
        raise ValueError(f"{key} must be a path or begin with {allowed} (a PUT is atomic there) but got {uri}")
    try:
        from storage.objects import ObjectPath
    except ImportError as error:
        raise ValueError(f"{key}={uri} needs packages that are not installed: pip install '.[s3]'") from error
    return cast(Path, ObjectPath(uri))


def _require_answer(key: str, path: Path, root: str) -> None:
    """Looks at the place once; clients try for minutes by themselves."""
    outcome: list[Exception | None] = []

    def look() -> None:
        try:
            cast(Any, path).look()
            outcome.append(None)
        except Exception as error:  # each client has its own
            outcome.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    error = outcome[0] if outcome else TimeoutError(f"no answer in {_ANSWER_SECONDS:g} s")
    if error is not None:
        raise ValueError(
            f"{key}={path} cannot be reached ({root} must be there, and endpoint and credentials in the environment):"
            f" {' '.join(str(error).split())}"
        ) from error

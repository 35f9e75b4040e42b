"""The one way in which files prove that they are what was written: sha256 of the content and of the name.

    a JSON file         `sealed` writes the facts with a seal of themselves; `read_sealed` refuses any other
    files beside it     their `digests` are among its facts, for `check_files`
    any other format    keeps `seal(name, content)` in its own metadata (Parquet, safetensors)

The name is sealed too: a file or folder that was put under the name of another is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "sha256"  # the key of a seal, in JSON and in the metadata of other formats


def seal(name: str, content: bytes) -> str:
    """sha256 of a content under its name, in hexadecimal digits."""
    return hashlib.sha256(name.encode() + b"\0" + content).hexdigest()


def sealed(name: str, facts: Mapping[str, Any]) -> bytes:
    """The facts as JSON that `read_sealed` takes under this name alone.

    Raises ValueError for a fact that has the key of the seal.
    """
    if SEAL in facts:
        raise ValueError(f"{name} must not hold the key {SEAL}, which is its seal's")
    return json.dumps({**facts, SEAL: _seal(name, facts)}, indent=1).encode()


def read_sealed(name: str, path: Path) -> dict[str, Any]:
    """The facts that were sealed under the name. Raises ValueError naming the file for anything else."""
    try:
        facts: Any = json.loads(path.read_bytes())
        if not isinstance(facts, dict):
            raise ValueError("it is not a JSON object")
        found = facts.pop(SEAL, None)
        if found is None:
            raise ValueError("it has no seal, so it was not written by this version")
        if found != _seal(name, facts):
            raise ValueError(f"its content is not what was written under the name {name}")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return dict(facts)


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """file_digest of every file below a local folder, by its name relative to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Raises ValueError naming the first file below the folder that is missing or not the one of its digest."""
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing")
        if file_digest(path) != digest:
            raise ValueError(f"{path} is damaged: it is not what was saved")


def _seal(name: str, facts: Mapping[str, Any]) -> str:
    return seal(name, json.dumps(facts, sort_keys=True).encode())

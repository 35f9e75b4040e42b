"""Parquet files that prove themselves: what is read is what was written under this name, or the file is refused.

The file's own metadata hold a sha256 of its name and of all its bytes (with zeros where the sha256 stands). Checksums
of pages would not do: the footer and the headers of pages lie outside of them. It is compared before anything is
parsed.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage import is_local, new_file

_SEAL = b"sha256-of-name-and-file:"
_UNSEALED = _SEAL + b"0" * 64


class DamagedError(ValueError):
    """A file that is not what was written: cut off, changed, renamed, or of another program."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged: {' '.join(reason.split())}")
        self.path = path


def read_table(path: Path) -> pa.Table:
    """The table that `write_table` wrote. A file without a seal (of an earlier version) is read as it is.

    Raises DamagedError for anything else, OSError when the file cannot be read.
    """
    require_file(path)
    content = path.read_bytes()
    seals = re.findall(_SEAL + rb"[0-9a-f]{64}", content)
    if seals and seals[-1] != _seal(path.stem, content.replace(seals[-1], _UNSEALED)):
        raise DamagedError(path, "its content is not what was written under this name")
    try:
        table = pq.read_table(pa.BufferReader(content))
    # What Arrow says of broken bytes depends on which they are.
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError, MemoryError) as error:
        raise DamagedError(path, f"not a readable Parquet file: {error}") from error
    return table.replace_schema_metadata(None)


def require_file(path: Path) -> None:
    """Raises DamagedError for a folder, pipe or device that has the name of a file; reading a pipe would never end."""
    if is_local(path) and path.exists() and not path.is_file():
        raise DamagedError(path, "it is no file")


def write_table(table: pa.Table, path: Path) -> None:
    """A reader sees the old file or the new one, never half."""
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"seal": _UNSEALED}), buffer)
    content = buffer.getvalue()
    content = content.replace(_UNSEALED, _seal(path.stem, content))
    with new_file(path) as file:
        file.write(content)


def _seal(name: str, unsealed: bytes) -> bytes:
    return _SEAL + hashlib.sha256(name.encode() + b"\0" + unsealed).hexdigest().encode()

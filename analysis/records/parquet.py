"""Parquet files that prove themselves: what is read is what was written under this name, or the file is refused.

The file's own metadata hold a sha256 of its name and of all its bytes (with zeros where the sha256 stands): its seal.
Checksums of pages would not do: the footer and the headers of pages lie outside of them. The seal is compared before
anything is parsed, and the footer's counts before anything is decoded: a seal has no key, so it proves no author, and
a small file can stand for very many rows.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage import is_local, new_file

_SEAL = b"sha256-of-name-and-file:"
_UNSEALED = _SEAL + b"0" * 64
MAX_INFLATION = 200  # uncompressed bytes to bytes of the file; rows of one study reach about 30
MAX_TEXT = 100_000  # characters of one value
MAX_DECODED = 4 * 2**30  # bytes of all texts together
_AGAIN = "run the sweep again in a new study_dir"


class DamagedError(ValueError):
    """A file that is not what was written: cut off, changed, renamed, or of another program."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged: {' '.join(reason.split())}")
        self.path = path


def read_table(path: Path, check: Callable[[pq.ParquetFile], None] | None = None) -> pa.Table:
    """The table that `write_table` wrote. `check` sees the opened file before its rows are read.

    Raises DamagedError for a file that is not what was written, ValueError for a whole file without a seal, OSError
    when the file cannot be read.
    """
    require_file(path)
    content = path.read_bytes()
    seals = re.findall(_SEAL + rb"[0-9a-f]{64}", content)
    if seals and seals[-1] != _seal(path.stem, content.replace(seals[-1], _UNSEALED)):
        raise DamagedError(path, "its content is not what was written under this name")
    try:
        with pq.ParquetFile(pa.BufferReader(content), read_dictionary=_texts(content)) as file:
            _require_small(path, file.metadata, len(content))
            if not seals and b"seal" in (file.metadata.metadata or {}):
                raise DamagedError(path, "its seal is not what was written")
            if not seals:
                raise ValueError(f"{path} carries no seal: another program or an earlier version wrote it; {_AGAIN}")
            if check is not None:
                check(file)
            return _decoded(path, file.read())
    # What Arrow says of broken bytes depends on which they are.
    except (pa.ArrowException, OSError, LookupError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise DamagedError(path, f"not a readable Parquet file: {error}") from error


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


def other_version(path: Path, found: object, wanted: int) -> ValueError:
    """What to say of a file of another schema version: it is not damaged."""
    return ValueError(f"{path} is of schema version {found}; this program reads version {wanted}: {_AGAIN}")


def is_sealed(metadata: pq.FileMetaData) -> bool:
    return _SEAL in (metadata.metadata or {}).get(b"seal", b"")


def _require_small(path: Path, metadata: pq.FileMetaData, num_bytes: int) -> None:
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if metadata.num_rows > num_bytes or size > MAX_INFLATION * num_bytes:
        raise DamagedError(
            path, f"{num_bytes} bytes cannot hold the {metadata.num_rows} rows ({size} bytes) that its footer claims"
        )


def _texts(content: bytes) -> list[str]:
    """The columns of text, which are read as they are stored: each value once, and which row has which."""
    schema = pq.read_schema(pa.BufferReader(content))
    return [field.name for field in schema if pa.types.is_string(field.type)]


def plain_texts(schema: pa.Schema) -> pa.Schema:
    """The schema with columns of text as plain strings, however they were read."""
    return pa.schema(
        [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema]
    )


def _decoded(path: Path, table: pa.Table) -> pa.Table:
    """The table with its texts written out, once they are known to fit."""
    total = 0
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            lengths = pc.binary_length(chunk.dictionary)
            total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
            if (pc.max(lengths).as_py() or 0) > MAX_TEXT or total > MAX_DECODED:
                raise DamagedError(path, "its texts are longer than any that this program writes")
    return table.replace_schema_metadata(None).cast(plain_texts(table.schema).remove_metadata())


def _seal(name: str, unsealed: bytes) -> bytes:
    return _SEAL + hashlib.sha256(name.encode() + b"\0" + unsealed).hexdigest().encode()

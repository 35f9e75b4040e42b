"""The records of a study: one Parquet row per finished member, and its training curve beside it.

A member is done when its row is here, and only then (design.md, idea 1). A row is written to a temporary name,
fsynced and renamed, and never changed afterwards; the curve is written first, so a row never lacks its curve. Rows of
many members may be moved into one file, a bundle (compact_runs); readers see both.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = 1
STATUSES = ("ok", "collapsed", "diverged")
PHASES = ("grid", "search", "confirm", "ablation")
_RUN_ID = re.compile(r"[0-9a-f]{16}\Z")


def _fields(kind: pa.DataType, names: str, *, required: bool = False) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=not required) for name in names.split()]


# Null means "does not apply": diffusion_only has no teacher, out_kd has no group_size, a diverged member has no fid.
RUN_SCHEMA = pa.schema(
    [
        *_fields(pa.int32(), "schema_version", required=True),
        *_fields(
            pa.string(), "run_id train_id study phase status member", required=True
        ),  # member: JSON, hashed to run_id
        *_fields(pa.string(), "data", required=True),
        *_fields(pa.string(), "teacher teacher_id"),
        *_fields(pa.int64(), "teacher_params teacher_macs"),
        *_fields(pa.float64(), "teacher_fid"),
        *_fields(pa.string(), "student", required=True),
        *_fields(pa.int64(), "student_params student_macs", required=True),
        *_fields(pa.float64(), "capacity_gap"),  # teacher_params / student_params
        *_fields(pa.string(), "method output feature", required=True),
        *_fields(pa.int64(), "group_size"),  # elements per group (K)
        *_fields(pa.string(), "coarse_norm gate reduction"),
        *_fields(pa.float64(), "lambda_diff lambda_out lambda_feat"),
        *_fields(pa.int64(), "seed steps batch_size", required=True),
        *_fields(pa.string(), "optimiser", required=True),
        *_fields(pa.float64(), "lr ema_decay", required=True),
        *_fields(pa.string(), "precision", required=True),  # arithmetic, e.g. float32; the metric is precision_
        *_fields(pa.float64(), "fid is_mean precision_ recall kid"),
        *_fields(pa.int64(), "num_images", required=True),
        *_fields(pa.string(), "sampler", required=True),
        *_fields(pa.int64(), "sampler_steps", required=True),
        *_fields(pa.string(), "feature_extractor reference_split", required=True),
        *_fields(pa.float64(), "student_teacher_distance"),  # mean squared output difference per element, at the end
        *_fields(pa.int64(), "diverged_at_step"),
        *_fields(pa.float64(), "train_seconds eval_seconds device_seconds steps_per_second peak_memory_mb"),
        *_fields(pa.string(), "weights_digest"),  # sha256 of the EMA student's tensors
        *_fields(pa.int32(), "world_size", required=True),
        *_fields(pa.string(), "device torch ray diffusers code_version"),
        *_fields(pa.timestamp("us", tz="UTC"), "started_at finished_at"),
    ]
)

CURVE_SCHEMA = pa.schema(
    [
        *_fields(pa.int64(), "step", required=True),
        *_fields(pa.float64(), "loss loss_diff loss_out loss_feat"),  # each term before its lambda
        *_fields(pa.float64(), "gate slope_error intercept_error"),  # mean |a - 1|, mean |b| over the batch
        *_fields(pa.float64(), "distance grad_norm fid"),  # distance: mean (student - teacher)^2 per element
    ]
)

# Rows may be compared only when they agree in all of these.
EVALUATION_PROTOCOL = ("num_images", "sampler", "sampler_steps", "feature_extractor", "reference_split")


def runs_dir(study_dir: Path) -> Path:
    return Path(study_dir) / "records" / "runs"


def curves_dir(study_dir: Path) -> Path:
    return Path(study_dir) / "records" / "curves"


def write_run(study_dir: Path, row: Mapping[str, Any], curve: Iterable[Mapping[str, Any]] = ()) -> None:
    """Makes a member done: writes its curve, then its row, each atomically.

    `row` maps column names of RUN_SCHEMA (all but schema_version) to values; absent nullable columns become null.
    `curve` is a sequence of rows of CURVE_SCHEMA. Raises ValueError for an unknown column, a missing required one or
    a value that the schema or STATUSES / PHASES do not allow.
    """
    row = {"schema_version": SCHEMA_VERSION, **row}
    _check(row, RUN_SCHEMA)
    if not _RUN_ID.match(row["run_id"]):
        raise ValueError(f"run_id must be 16 hexadecimal digits but got {row['run_id']!r}")
    for key, allowed in (("status", STATUSES), ("phase", PHASES)):
        if row[key] not in allowed:
            raise ValueError(f"{key} must be one of {', '.join(allowed)} but got {row[key]!r}")
    points = list(curve)
    for point in points:
        _check(point, CURVE_SCHEMA)
    name = f"{row['run_id']}.parquet"
    _write_atomically(pa.Table.from_pylist(points, schema=CURVE_SCHEMA), curves_dir(study_dir) / name)
    _write_atomically(pa.Table.from_pylist([row], schema=RUN_SCHEMA), runs_dir(study_dir) / name)


def finished_run_ids(study_dir: Path) -> set[str]:
    """The run_ids that have a row: from the names of the row files, and from the bundles where rows were compacted."""
    singles, bundles = _row_files(study_dir)
    found = {path.stem for path in singles}
    for path in bundles:
        found.update(_read(path, RUN_SCHEMA, columns=["run_id"]).column("run_id").to_pylist())
    return found


def read_runs(study_dir: Path) -> pa.Table:
    """Every row of the study, columns as in RUN_SCHEMA, sorted by run_id; each member once.

    Raises ValueError naming a file that is not a row.
    """
    for attempt in range(3):
        singles, bundles = _row_files(study_dir)
        try:
            with ThreadPoolExecutor(max_workers=8) as pool:
                tables = list(pool.map(lambda path: _read(path, RUN_SCHEMA), [*bundles, *singles]))
            break
        except FileNotFoundError:  # compact_runs moved rows into a bundle after they were listed: list again
            if attempt == 2:
                raise
    if not tables:
        return RUN_SCHEMA.empty_table()
    rows = pa.concat_tables(tables)
    run_ids = rows.column("run_id").to_numpy(zero_copy_only=False).astype("U16")
    _, first = np.unique(run_ids, return_index=True)  # a row is there twice if compacting was cut short: the same row
    return rows.take(pa.array(first))


def compact_runs(study_dir: Path) -> int:
    """Rewrites all rows into one Parquet file and returns how many there are; for studies of many thousands of members.

    Safe beside writers and readers, and at every point where it could be killed: the bundle is complete under its name
    before the first of the files that it replaces is removed, and a row that is there twice is read once.
    """
    singles, bundles = _row_files(study_dir)
    if not singles and len(bundles) < 2:
        return sum(pq.read_metadata(path).num_rows for path in bundles)
    rows = read_runs(study_dir)
    held = set(rows.column("run_id").to_pylist())
    digest = hashlib.sha256("".join(sorted(held)).encode()).hexdigest()[:16]
    bundle = runs_dir(study_dir) / f"bundle-{digest}.parquet"
    _write_atomically(rows, bundle)
    for path in (*singles, *bundles):
        if path != bundle and (path in bundles or path.stem in held):
            path.unlink(missing_ok=True)
    return len(rows)


def _row_files(study_dir: Path) -> tuple[list[Path], list[Path]]:
    """Files of one row each, and bundles of many, both by name."""
    paths = sorted(runs_dir(study_dir).glob("*.parquet"))
    singles = [path for path in paths if _RUN_ID.match(path.stem)]
    return singles, [path for path in paths if path.stem.startswith("bundle-")]


def read_curve(study_dir: Path, run_id: str) -> pa.Table:
    """The training curve of one member, columns as in CURVE_SCHEMA, by ascending step."""
    if not _RUN_ID.match(run_id):
        raise ValueError(f"run_id must be 16 hexadecimal digits but got {run_id!r}")
    return _read(curves_dir(study_dir) / f"{run_id}.parquet", CURVE_SCHEMA)


def check_one_protocol(runs: pa.Table) -> None:
    """Raises ValueError naming the column when rows of different evaluation protocols would be compared."""
    for key in EVALUATION_PROTOCOL:
        values = sorted({str(value) for value in runs.column(key).unique().to_pylist()})
        if len(values) > 1:
            raise ValueError(
                f"runs of different evaluation protocols cannot be compared: {key} is {' and '.join(values)}"
            )


def _read(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            if columns is not None and set(columns) <= set(file.schema_arrow.names):
                return file.read(columns=columns)
            table = file.read()
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from error
    if not table.schema.equals(schema):
        found = (
            table.column("schema_version")[0] if "schema_version" in table.column_names and len(table) else "unknown"
        )
        raise ValueError(f"{path} has another schema (version {found}); this program reads version {SCHEMA_VERSION}")
    return table


def _check(row: Mapping[str, Any], schema: pa.Schema) -> None:
    unknown = sorted(set(row) - set(schema.names))
    missing = sorted(field.name for field in schema if not field.nullable and row.get(field.name) is None)
    if unknown or missing:
        raise ValueError(f"a record has unknown columns {unknown} and lacks required columns {missing}")


def _write_atomically(table: pa.Table, path: Path) -> None:
    """A reader sees the old file or the new one, never half: temporary name, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""The records of a study: one Parquet row per finished member, and its training curve beside it.

A member is done when its row is here, and only then (study/README.md, The study directory). A row is written to a
temporary name, fsynced and renamed, and never changed afterwards; the curve is written first, so a row never lacks its
curve. Rows of many members may be moved into one file, a bundle (compact_runs); readers see both.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.records.parquet import (
    DamagedError,
    is_sealed,
    other_version,
    plain_texts,
    read_table,
    require_file,
    write_table,
)
from storage import source

SCHEMA_VERSION = 3
STATUSES = ("ok", "diverged")
PHASES = ("grid", "search", "confirm")
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
        *_fields(pa.int64(), "teacher_seed teacher_params teacher_macs"),  # seed: of the teacher's own training
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
        *_fields(pa.string(), "precision matmul", required=True),  # e.g. float32; the metric is precision_
        *_fields(pa.float64(), "fid is_mean precision_ recall kid"),  # means over the noise seeds
        *_fields(pa.list_(pa.float64()), "fid_by_noise_seed"),  # in the order of evaluation.noise_seeds
        *_fields(pa.int64(), "num_images", required=True),
        *_fields(pa.string(), "sampler", required=True),
        *_fields(pa.int64(), "sampler_steps", required=True),
        *_fields(pa.string(), "feature_extractor reference_split", required=True),
        *_fields(pa.float64(), "student_teacher_distance"),  # mean squared output difference per element, at the end
        *_fields(pa.int64(), "diverged_at_step"),
        *_fields(pa.float64(), "train_seconds eval_seconds device_seconds"),
        *_fields(pa.float64(), "steps_per_second macs_per_second peak_memory_mb"),  # MACs: of the whole pack
        *_fields(pa.string(), "weights_digest"),  # sha256 of the EMA student's tensors
        *_fields(pa.int32(), "world_size", required=True),
        *_fields(pa.bool_(), "fused", required=True),  # trained as one program with its pack, which changes bits
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


def runs_dir(study_dir: Path) -> Path:
    return study_dir / "records" / "runs"


def curves_dir(study_dir: Path) -> Path:
    return study_dir / "records" / "curves"


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
    write_table(pa.Table.from_pylist(points, schema=CURVE_SCHEMA), curves_dir(study_dir) / name)
    write_table(pa.Table.from_pylist([row], schema=RUN_SCHEMA), runs_dir(study_dir) / name)


def finished_run_ids(study_dir: Path) -> set[str]:
    """The run_ids that have a row: from the names of the row files, and from the bundles where rows were compacted."""
    singles, bundles = _row_files(study_dir)
    found = {path.stem for path in singles}
    for path in bundles:
        found.update(_bundled_run_ids(path))
    return found


def _bundled_run_ids(path: Path) -> list[str]:
    """The ids alone: the seal is proved where the rows are read."""
    require_file(path)
    try:
        with pq.ParquetFile(source(path)) as file:
            if not is_sealed(file.metadata) or file.metadata.num_rows > path.stat().st_size:
                raise DamagedError(path, "it carries no seal, or claims more rows than it has bytes")
            found: list[str] = file.read(columns=["run_id"]).column(0).to_pylist()
    except (pa.ArrowException, OSError, IndexError) as error:
        raise DamagedError(path, f"not a readable Parquet file: {error}") from error
    return found


def read_runs(study_dir: Path) -> pa.Table:
    """Every row of the study, columns as in RUN_SCHEMA, sorted by run_id; each member once.

    Raises DamagedError, a ValueError, naming a file that is not what was written.
    """
    for attempt in range(3):
        paths = sorted(runs_dir(study_dir).glob("*.parquet"), reverse=True)  # bundles first
        try:
            with ThreadPoolExecutor(max_workers=8) as pool:
                tables = list(pool.map(_read_rows, paths))
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


def read_new_runs(study_dir: Path, known: Container[str]) -> dict[str, dict[str, Any]]:
    """The rows by run_id of the members that are not `known`, for readers that come back for new ones."""
    singles, bundles = _row_files(study_dir)
    rows: list[dict[str, Any]] = []
    for path in [path for path in singles if path.stem not in known] + bundles:
        with suppress(FileNotFoundError):  # compact_runs moved it into a bundle: the next look finds it there
            if path in bundles and all(run_id in known for run_id in _bundled_run_ids(path)):
                continue
            rows += _read_rows(path).to_pylist()
    return {row["run_id"]: row for row in rows if row["run_id"] not in known}


def compact_runs(study_dir: Path) -> int:
    """Rewrites all rows into one Parquet file and returns how many there are; for studies of many thousands of members.

    Safe beside writers and readers, and at every point where it could be killed: the bundle is complete under its name
    before the first of the files that it replaces is removed, and a row that is there twice is read once.
    """
    singles, bundles = _row_files(study_dir)
    if not singles and len(bundles) < 2:
        return sum(pq.read_metadata(source(path)).num_rows for path in bundles)
    rows = read_runs(study_dir)
    held = set(rows.column("run_id").to_pylist())
    digest = hashlib.sha256("".join(sorted(held)).encode()).hexdigest()[:16]
    bundle = runs_dir(study_dir) / f"bundle-{digest}.parquet"
    write_table(rows, bundle)
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
    return _read_curve(curves_dir(study_dir) / f"{run_id}.parquet")


def outcome(status: str, fid: float | None, collapse_fid: float | None) -> str:
    """What became of a member: diverged, collapsed (its FID is above the threshold of the report, if any) or ok."""
    if status == "diverged" or fid is None or not math.isfinite(fid):
        return "diverged"
    return "collapsed" if collapse_fid is not None and fid > collapse_fid else "ok"


def check_records(study_dir: Path) -> list[DamagedError]:
    """What is wrong with the files of the records, one error a file; reads all of them.

    Raises ValueError for a file of another version, which is not damaged.
    """
    rows, curves = sorted(runs_dir(study_dir).glob("*.parquet")), sorted(curves_dir(study_dir).glob("*.parquet"))
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = [*pool.map(partial(_damage, _read_rows), rows), *pool.map(partial(_damage, _read_curve), curves)]
    return [error for error in found if error is not None]


def _damage(read: Callable[[Path], pa.Table], path: Path) -> DamagedError | None:
    try:
        read(path)
    except DamagedError as error:
        return error
    except FileNotFoundError:  # compact_runs moved it
        return None
    return None


def _read_curve(path: Path) -> pa.Table:
    return _read(path, CURVE_SCHEMA)


def _read_rows(path: Path) -> pa.Table:
    table = _read(path, RUN_SCHEMA)
    run_ids = table.column("run_id").to_pylist()
    if _RUN_ID.match(path.stem) and run_ids != [path.stem]:
        raise DamagedError(path, f"it must hold the one row of its name but holds {run_ids[:3]}")
    if not _RUN_ID.match(path.stem) and not path.stem.startswith("bundle-"):
        raise DamagedError(path, "no row of this study has such a name")
    for run_id in run_ids:
        if not _RUN_ID.match(run_id):
            raise DamagedError(path, f"{run_id!r} is no run_id")
    return table


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    return read_table(path, partial(_require_schema, path, schema))


def _require_schema(path: Path, schema: pa.Schema, file: pq.ParquetFile) -> None:
    """Raises ValueError for rows of another version, DamagedError for another schema."""
    if "schema_version" in file.schema_arrow.names:
        for version in file.read(columns=["schema_version"]).column(0).unique().to_pylist():
            if version != SCHEMA_VERSION and isinstance(version, int):
                raise other_version(path, version, SCHEMA_VERSION)
    if not plain_texts(file.schema_arrow).equals(schema):
        raise DamagedError(path, f"it has another schema than version {SCHEMA_VERSION}")


def _check(row: Mapping[str, Any], schema: pa.Schema) -> None:
    unknown = sorted(set(row) - set(schema.names))
    missing = sorted(field.name for field in schema if not field.nullable and row.get(field.name) is None)
    if unknown or missing:
        raise ValueError(f"a record has unknown columns {unknown} and lacks required columns {missing}")

"""Tables to query: the rows of a study with their cell, its curves with their run_id. queries.sql has the same in SQL.

A cell is a member but for its seed, in one phase: what a mean and a standard deviation may be taken over. `method` is
not: it puts settings, searched and confirmed members together.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa

from analysis.records.rows import CURVE_SCHEMA, curves_dir, read_curve, read_runs


def runs(study_dir: Path | str) -> pa.Table:
    """The rows of a study (RUN_SCHEMA) behind a column `cell`, 12 hexadecimal digits.

    `.to_pandas()` or polars.from_arrow(...) take it from there. Raises ValueError for damaged records.
    """
    table = read_runs(Path(study_dir))
    cells = [_cell(*row) for row in zip(table["phase"].to_pylist(), table["member"].to_pylist(), strict=True)]
    return table.add_column(0, "cell", pa.array(cells, pa.string()))


def curves(study_dir: Path | str) -> pa.Table:
    """The training curves of all members (CURVE_SCHEMA) behind a column `run_id`, by ascending step within each.

    Raises ValueError for a damaged curve.
    """
    run_ids = sorted(path.stem for path in curves_dir(Path(study_dir)).glob("*.parquet"))
    schema = pa.schema([pa.field("run_id", pa.string()), *CURVE_SCHEMA])
    tables = []
    for run_id in run_ids:
        curve = read_curve(Path(study_dir), run_id)
        tables.append(curve.add_column(0, "run_id", pa.array([run_id] * len(curve), pa.string())))
    return pa.concat_tables([one.cast(schema) for one in tables]) if tables else schema.empty_table()


def _cell(phase: str, member: str) -> str:
    """As queries.sql has it."""
    content = json.loads(member)
    content.pop("seed", None)
    text = json.dumps(content, separators=(",", ":"))
    return hashlib.md5(f"{phase} {text}".encode(), usedforsecurity=False).hexdigest()[:12]

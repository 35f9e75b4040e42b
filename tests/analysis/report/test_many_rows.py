"""A hundred thousand rows: under 20 seconds of CPU and 2 GiB, as one bundle."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from synthetic_study import METHODS, TEACHERS, make_row

from analysis.records.parquet import write_table
from analysis.records.rows import RUN_SCHEMA, SCHEMA_VERSION, runs_dir

NUM_ROWS = 100_000
REPORT = """
import resource, sys
from pathlib import Path
from analysis.report.write import write_report
write_report([Path(sys.argv[1])], Path(sys.argv[2]))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)
"""


def write_bundle(study_dir: Path) -> None:
    """NUM_ROWS rows of the toy's ten cells in one file, as compact_runs leaves them."""
    kinds = [
        (method, teacher) for method in METHODS for teacher in ([None] if method == "diffusion_only" else TEACHERS)
    ]
    each = NUM_ROWS // len(kinds)
    parts = []
    for place, (method, teacher) in enumerate(kinds):
        row = pa.Table.from_pylist(
            [{"schema_version": SCHEMA_VERSION, **make_row(method, teacher, 0, 50.0)}], schema=RUN_SCHEMA
        )
        member = json.loads(row.column("member")[0].as_py())
        columns = {
            "run_id": [hashlib.sha256(f"{place} {seed}".encode()).hexdigest()[:16] for seed in range(each)],
            "member": [json.dumps({**member, "seed": seed}) for seed in range(each)],
            "seed": np.arange(each),
            "fid": np.random.default_rng(place).normal(50.0, 5.0, each),
        }
        part = row.take(np.zeros(each, dtype=np.int64))
        for name, values in columns.items():
            field = RUN_SCHEMA.field(name)
            part = part.set_column(part.schema.get_field_index(name), field, pa.array(values, type=field.type))
        parts.append(part)
    write_table(pa.concat_tables(parts), runs_dir(study_dir) / "bundle-0123456789abcdef.parquet")


@pytest.mark.full
def test_a_hundred_thousand_rows_take_under_20_cpu_seconds_and_2_gib(tmp_path: Path) -> None:
    write_bundle(tmp_path / "study")
    command = [sys.executable, "-c", REPORT, str(tmp_path / "study"), str(tmp_path / "report")]
    seconds, gib = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert seconds < 20
    assert gib < 2
    assert (tmp_path / "report" / "stability.csv").read_text().count(",10000,") >= 10

"""Records that are not what was written are refused by name, wherever they were changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_study import make_curve, make_row, toy_rows, write_study

from analysis.records.parquet import DamagedError, read_table, write_table
from analysis.records.rows import (
    RUN_SCHEMA,
    check_records,
    compact_runs,
    curves_dir,
    finished_run_ids,
    read_curve,
    read_runs,
    runs_dir,
    write_run,
)

STEP = 61  # every 61st byte, and each of the last 64, with one bit and with all of them flipped


def write_one(study_dir: Path) -> tuple[Path, Path]:
    row = make_row("lift_place_feat", "small", 0, 31.5)
    write_run(study_dir, row, make_curve(lift=True))
    return runs_dir(study_dir) / f"{row['run_id']}.parquet", curves_dir(study_dir) / f"{row['run_id']}.parquet"


@pytest.mark.parametrize("kind", ["row", "curve"])
def test_a_flipped_byte_is_found_or_changes_nothing_that_is_read(kind: str, tmp_path: Path) -> None:
    path = write_one(tmp_path)[kind == "curve"]
    content, original, num_found = path.read_bytes(), read_table(path), 0
    positions = sorted({*range(0, len(content), STEP), *range(len(content) - 64, len(content))})
    for position in positions:
        for mask in (0x01, 0xFF):
            path.write_bytes(content[:position] + bytes([content[position] ^ mask]) + content[position + 1 :])
            try:
                found = read_table(path)
            except DamagedError:
                num_found += 1
            else:
                assert found.equals(original), f"byte {position} of {len(content)}"
    assert num_found > len(positions) / 2


@pytest.mark.parametrize("num_bytes", [0, 1, 4, 100, -1, -8, -100])
def test_a_file_that_is_cut_off_is_named(num_bytes: int, tmp_path: Path) -> None:
    path, _ = write_one(tmp_path)
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(DamagedError, match=path.name):
        read_runs(tmp_path)


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(content=st.binary(max_size=200).map(lambda middle: b"PAR1" + middle + b"PAR1"))
def test_any_bytes_are_refused_in_one_line(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("foreign") / "0123456789abcdef.parquet"
    path.write_bytes(content)
    with pytest.raises(DamagedError) as refused:
        read_table(path)
    assert "\n" not in str(refused.value)


def rename(path: Path) -> Path:
    return path.rename(path.with_name("0123456789abcdef.parquet"))


def rename_and_sign_again(path: Path) -> Path:
    return resign(rename(path), read_table_of(path.with_name("0123456789abcdef.parquet")))


def read_table_of(path: Path) -> pa.Table:
    return pq.read_table(path, partitioning=None)


def resign(path: Path, table: pa.Table) -> Path:
    write_table(table, path)
    return path


def another_schema(path: Path) -> Path:
    return resign(path, pa.table({"a": [1]}))


def another_type(path: Path) -> Path:
    table = read_table_of(path)
    place = table.schema.get_field_index("fid")
    return resign(path, table.set_column(place, "fid", table.column("fid").cast(pa.float32())))


def foreign_name(path: Path) -> Path:
    return path.rename(path.with_name("results.parquet"))


def run_id_that_climbs(path: Path) -> Path:
    table = read_table_of(path)
    place = table.schema.get_field_index("run_id")
    changed = table.set_column(place, RUN_SCHEMA.field("run_id"), pa.array(["../../../../x"]))
    path.unlink()
    return resign(path.with_name("bundle-0123456789abcdef.parquet"), changed)


CHANGES = [rename, rename_and_sign_again, another_schema, another_type, foreign_name, run_id_that_climbs]


@pytest.mark.parametrize("change", CHANGES)
def test_foreign_rows_are_named(change: Callable[[Path], Path], tmp_path: Path) -> None:
    path = change(write_one(tmp_path)[0])
    with pytest.raises(DamagedError, match=path.name):
        read_runs(tmp_path)
    assert [error.path for error in check_records(tmp_path)] == [path]


@pytest.mark.parametrize("run_id", ["../../climb", "/tmp/climb", "0123456789ABCDEF", "0" * 17, ""])
def test_a_row_is_written_under_no_other_name_than_a_run_id(run_id: str, tmp_path: Path) -> None:
    row = make_row("out_kd", "small", 0, 31.5)
    with pytest.raises(ValueError, match="run_id"):
        write_run(tmp_path / "a" / "b" / "study", {**row, "run_id": run_id})
    with pytest.raises(ValueError, match="run_id"):
        read_curve(tmp_path, run_id)
    assert not list(tmp_path.iterdir())


def test_a_curve_of_another_member_is_named(tmp_path: Path) -> None:
    _, curve = write_one(tmp_path)
    other = curve.rename(curve.with_name("0123456789abcdef.parquet"))
    with pytest.raises(DamagedError, match=other.name):
        read_curve(tmp_path, other.stem)


def test_a_newer_version_is_refused_by_name_and_is_not_damage(tmp_path: Path) -> None:
    path, _ = write_one(tmp_path)
    table = read_table_of(path)
    newer = table.set_column(0, RUN_SCHEMA.field("schema_version"), pa.array([4], pa.int32()))
    resign(path, newer.append_column("new", pa.array(["x"])))
    for read in (read_runs, check_records):
        with pytest.raises(ValueError, match=r"is of schema version 4; this program reads version 3") as refused:
            read(tmp_path)
        assert not isinstance(refused.value, DamagedError)


@pytest.mark.parametrize("kind", ["row", "curve", "bundle"])
def test_a_whole_file_without_a_seal_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    """A row that another program wrote again, FID 31.5 become 1, must not be read as true."""
    path, curve = write_one(tmp_path)
    if kind == "bundle":
        compact_runs(tmp_path)
        (path,) = runs_dir(tmp_path).iterdir()
    path = curve if kind == "curve" else path
    table = pq.read_table(path, partitioning=None)
    if kind != "curve":
        place = table.schema.get_field_index("fid")
        table = table.set_column(place, RUN_SCHEMA.field("fid"), pa.array([1.0]))
    pq.write_table(table.replace_schema_metadata(None), path)
    read = (lambda: read_curve(tmp_path, path.stem)) if kind == "curve" else (lambda: read_runs(tmp_path))
    with pytest.raises(ValueError, match=rf"{path.name} carries no seal.*run the sweep again in a new study_dir"):
        read()
    if kind == "bundle":
        with pytest.raises(ValueError, match=path.name):
            finished_run_ids(tmp_path)


def test_rows_of_version_1_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path, _ = write_one(tmp_path)
    table = read_table_of(path)
    old = table.set_column(0, RUN_SCHEMA.field("schema_version"), pa.array([1], pa.int32()))
    resign(path, old.drop_columns(["teacher_seed", "fid_by_noise_seed", "macs_per_second"]))
    with pytest.raises(
        ValueError, match=r"schema version 1; this program reads version 3: run the sweep again in a new"
    ):
        read_runs(tmp_path)


def many_rows(num: int, text: str) -> pa.Table:
    """One row `num` times: a few KB in a file, whatever its texts."""
    row = {"schema_version": 3, **make_row("out_kd", "small", 0, 31.5), "device": text}
    return pa.Table.from_pylist([row], schema=RUN_SCHEMA).take(np.zeros(num, dtype=np.int64))


@pytest.mark.parametrize(
    ("num", "text", "reason"),
    [
        (300_000, "cpu", "cannot hold the 300000 rows"),
        (100, "x" * 2_000_000, "texts are longer"),
    ],
    ids=["many rows", "long texts"],
)
def test_a_small_file_that_stands_for_much_is_refused_before_it_is_read(
    num: int, text: str, reason: str, tmp_path: Path
) -> None:
    """A sealed bundle of 22 KB once took 5.9 GB of memory."""
    path = runs_dir(tmp_path) / "bundle-0123456789abcdef.parquet"
    write_table(many_rows(num, text), path)
    assert path.stat().st_size < 300_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DamagedError, match=reason):
        read_runs(tmp_path)
    assert pa.total_allocated_bytes() - before < 50_000_000


def test_what_is_whole_has_no_damage(tmp_path: Path) -> None:
    write_study(tmp_path, toy_rows(num_seeds=2))
    assert check_records(tmp_path) == []
    compact_runs(tmp_path)
    assert check_records(tmp_path) == []

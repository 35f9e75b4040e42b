"""The report as a whole: its files, its refusals, and that it is the same every time."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from synthetic_study import make_row, toy_rows, write_study

from analysis.report import write_report

COLUMNS = ["teacher", "teacher_params", "capacity_gap", "method", "n", "fid_mean", "fid_std"]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_csv_begins_with_the_agreed_columns_and_counts_what_collapsed(study_dir: Path, tmp_path: Path) -> None:
    report = write_report([study_dir], tmp_path / "report")
    lines = read_csv(tmp_path / "report" / "stability.csv")
    assert list(lines[0])[: len(COLUMNS)] == COLUMNS
    assert len(lines) == 10
    broken = next(line for line in lines if (line["method"], line["teacher"]) == ("out_kd", "large"))
    assert (broken["n"], broken["num_fid"], broken["num_collapsed"], broken["num_diverged"]) == ("5", "4", "1", "1")
    assert float(broken["collapse_rate"]) == 0.4
    assert float(broken["fid_mean"]) > float(broken["fid_mean_ok"])
    assert "out_kd" in report.text
    assert "diverged" in report.text
    assert report.index == tmp_path / "report" / "index.html"


def test_same_records_and_seed_give_the_same_bytes(study_dir: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report([study_dir], tmp_path / name, command="python -m study.report")
    names = [path.relative_to(tmp_path / "one") for path in sorted((tmp_path / "one").rglob("*")) if path.is_file()]
    assert len(names) >= 6
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_mixed_evaluation_protocols_are_refused_by_name(tmp_path: Path) -> None:
    rows = [make_row("out_kd", "small", seed, 50.0, num_images=256 * (1 + seed)) for seed in (0, 1)]
    write_study(tmp_path / "study", rows)
    with pytest.raises(ValueError, match="num_images is 256 and 512"):
        write_report([tmp_path / "study"], tmp_path / "report")


def test_an_empty_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="study_dir must hold finished members"):
        write_report([tmp_path], tmp_path / "report")


def test_two_studies_stand_side_by_side(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_study(tmp_path / name, toy_rows(num_seeds=2), curves=False)
    write_report([tmp_path / "first", tmp_path / "second"], tmp_path / "report")
    methods = {line["method"] for line in read_csv(tmp_path / "report" / "stability.csv")}
    assert {"first: out_kd", "second: out_kd"} <= methods
    assert len(methods) == 8


def test_a_method_named_like_a_tag_is_shown_as_text(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    write_study(tmp_path / "study", [make_row(name, "small", seed, 50.0 + seed) for seed in range(3)])
    page = write_report([tmp_path / "study"], tmp_path / "report").index.read_text()
    assert name not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page

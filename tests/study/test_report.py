"""python -m study.report: its overrides, its refusals, and what it must not load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest

from study.report import main


def test_published_table6_makes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["published=table6", f"report_dir={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "lift_place_feat" in printed
    assert str(tmp_path / "index.html") in printed
    assert (tmp_path / "stability.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "study_dir, example or published must be given"),
        (["published=table6"], "report_dir must be given"),
        (["published=table5", "report_dir=x"], "published must be one of"),
        (["no_such_key=1"], "no_such_key"),
        (["published=table6", "report_dir=x", "where={nothing:1}"], "where must name columns"),
        (["published=table6", "report_dir=x", "where=3"], "where must be null or keys with values"),
        (["published=table6", "report_dir=x", "compare=3"], "compare must be a study's directory"),
        (["published=table6", "report_dir=x", "report.primary=[out_kd]"], r"report\.primary must be null or the names"),
        (["published=table6", "report_dir=x", "report.baseline=x"], r"report\.baseline must be among"),
    ],
)
def test_a_wrong_value_is_refused_by_name(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(arguments)


def test_an_absent_study_ends_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "study.report", f"study_dir={tmp_path / 'none'}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "must hold finished members" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_report_needs_neither_torch_nor_ray() -> None:
    code = "import sys, study.report; print([name for name in ('torch', 'ray') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_compact_rewrites_the_rows_into_one_file_and_reports_the_same(tmp_path: Path) -> None:
    from analysis.records.published import published_runs
    from analysis.records.rows import finished_run_ids, runs_dir, write_run

    rows = published_runs("table6").filter(pc.field("teacher_params") > 10_000_000).to_pylist()
    for row in rows[:24]:
        write_run(tmp_path, row)
    main([f"study_dir={tmp_path}", f"report_dir={tmp_path / 'before'}"])
    main([f"study_dir={tmp_path}", f"report_dir={tmp_path / 'after'}", "compact=true"])
    assert len(list(runs_dir(tmp_path).iterdir())) == 1
    assert len(finished_run_ids(tmp_path)) == 24
    before, after = ((tmp_path / name / "stability.csv").read_bytes() for name in ("before", "after"))
    assert before == after


def rows_of_table_6(study_dir: Path) -> None:
    from analysis.records.published import published_runs
    from analysis.records.rows import write_run

    for row in published_runs("table6").filter(pc.field("teacher_params") > 70_000_000).to_pylist():
        write_run(study_dir, row)


def test_one_directory_may_be_compared_without_brackets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        rows_of_table_6(tmp_path / name)
    main([f"study_dir={tmp_path / 'a'}", f"compare={tmp_path / 'b'}", f"report_dir={tmp_path / 'report'}"])
    printed = capsys.readouterr().out
    assert "a: lift_place_feat" in printed
    assert "b: lift_place_feat" in printed


def test_rows_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows_of_table_6(tmp_path)
    main([f"study_dir={tmp_path}", f"report_dir={tmp_path / 'report'}", "where={method.name:out_kd,seed:2}"])
    table = capsys.readouterr().out
    assert "out_kd  celeba_78.7m  60.5  90.72" in table
    assert "lift_place_feat" not in table


def test_what_the_study_declared_is_asked_unless_the_command_asks_otherwise(tmp_path: Path) -> None:
    rows_of_table_6(tmp_path)
    text = (
        "# python -m study.sweep train.lr=0.01\nstudy: x\nreport: {collapse_fid: 100, primary: [out_feat_kd, out_kd]}\n"
    )
    (tmp_path / "study.yaml").write_text(text)
    main([f"study_dir={tmp_path}"])
    main([f"study_dir={tmp_path}", f"report_dir={tmp_path / 'other'}", "report.collapse_fid=60"])
    found = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("report", "other")]
    assert [one["settings"]["collapse_fid"] for one in found] == [100, 60]
    assert found[1]["family"]["primary"] == ["out_feat_kd", "out_kd"]
    assert found[0]["reproduce"]["sweep"] == "python -m study.sweep train.lr=0.01"

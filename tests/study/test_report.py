"""python -m study.report: its overrides, its refusals, and what it must not load."""

from __future__ import annotations

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
        ([], "study_dir or published must be given"),
        (["published=table6"], "report_dir must be given"),
        (["published=table5", "report_dir=x"], "published must be one of"),
        (["no_such_key=1"], "no_such_key"),
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

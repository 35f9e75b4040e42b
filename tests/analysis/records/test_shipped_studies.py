"""The reference study is shipped whole, and README says of it what its report says."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analysis.records.examples import example_study
from analysis.records.rows import read_runs
from analysis.results.compute import Results, compute
from analysis.results.settings import ReportSettings

README = Path(__file__).parents[3] / "README.md"
ANALYSIS = Path(__file__).parents[3] / "analysis" / "README.md"
DECLARED_AT = {  # the commit of its config
    "digits_reference": datetime(2026, 11, 26, 14, 54, 35, tzinfo=UTC),  # 319b9f0
    "mnist_pair": datetime(2026, 11, 27, 1, 58, 45, tzinfo=UTC),  # 8fe33df
}


@pytest.fixture(scope="module")
def reference() -> Results:
    settings = ReportSettings(baseline="out_kd", primary=("lift_place_feat", "out_kd"))
    return compute([example_study("digits_reference")], None, 0, settings)


@pytest.mark.parametrize(("name", "num_cells", "seeds"), [("digits_reference", 6 * 6 + 1, 30), ("mnist_pair", 5, 10)])
def test_a_study_has_every_seed_of_every_cell(name: str, num_cells: int, seeds: int) -> None:
    rows = read_runs(example_study(name)).to_pylist()
    cells = Counter((row["method"], row["teacher"], row["teacher_seed"]) for row in rows)
    assert len(cells) == num_cells
    assert set(cells.values()) == {seeds}
    assert {row["status"] for row in rows} == {"ok"}
    assert min(row["started_at"] for row in rows) > DECLARED_AT[name]


def test_the_documents_say_of_mnist_what_its_report_says() -> None:
    study = example_study("mnist_pair")
    words = " ".join(ANALYSIS.read_text().split())
    assert compute([study], None, 0, ReportSettings()).findings.headline in words
    cells: dict[object, list[float]] = {}
    for row in read_runs(study).to_pylist():
        cells.setdefault((row["method"], row["teacher"]), []).append(row["fid"])
    for fids in cells.values():
        assert f"{statistics.mean(fids):.1f} ± {statistics.stdev(fids):.1f}" in words


def test_readme_says_of_the_comparison_what_the_report_says(reference: Results) -> None:
    said = re.findall(r"([\d.]+)(?: points)? \[([^]]*)\], (p = \d\.\d+)", reference.findings.headline)
    assert len(said) == 2  # mean and spread
    assert reference.findings.supported == ()
    words = " ".join(README.read_text().split())
    (mean, mean_interval, mean_p), (ratio, ratio_interval, ratio_p) = said
    assert f"{mean} points ({mean_interval.replace('−', '-')}, {mean_p})" in words
    assert f"x{ratio} ({ratio_interval}, {ratio_p}): no difference is shown" in words


def test_readme_says_of_the_trend_what_the_report_says(reference: Results) -> None:
    trend = next(one for one in reference.trends if one.method == "out_kd")
    low, high = trend.interval
    words = " ".join(README.read_text().split())
    assert f"{trend.slope:.1f} FID points per doubling ({low:.1f} to {high:.1f})" in words
    assert trend.spread_interval[0] < 0 < trend.spread_interval[1]

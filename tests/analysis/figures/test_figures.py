"""Figures are drawn of whatever a study holds: values that cannot be drawn never raise, nothing is left unsaid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_study import make_row, toy_rows, write_study

from analysis.figures import stability
from analysis.figures.components import components_figure
from analysis.figures.draw import Drawing, draw_figures
from analysis.figures.errors import ErrorMaps, error_figure
from analysis.figures.exceedance import exceedance_figure
from analysis.figures.forest import forest_figure
from analysis.figures.stability import stability_figure
from analysis.results.compute import compute
from analysis.statistics.components import components
from analysis.statistics.family import Hypothesis


def effect(kind: str, estimate: float, interval: tuple[float, float], *, supported: bool = False) -> Hypothesis:
    return Hypothesis(
        kind=kind, a="lift", b="out_kd", teacher=None, stage="others", n=6, estimate=estimate, interval=interval, p=0.5,
        p_adjusted=0.5, floor=0.03, supported=supported, equivalent=None, simultaneous=True,
    )  # fmt: skip


def drawn(tmp_path: Path, rows: list[dict[str, object]]) -> dict[str, Drawing]:
    study = write_study(tmp_path / "study", rows)
    return draw_figures(compute([study], None, 0), tmp_path / "figures")


@pytest.mark.parametrize("fids", [(50.0, 50.0), (0.0, 0.0), (5.0, float("inf")), (float("inf"),) * 2, (None, None)])
@pytest.mark.parametrize("teachers", [("small",), ("small", "medium", "large")])
def test_equal_zero_infinite_and_missing_fids_never_raise(
    tmp_path: Path, fids: tuple[float | None, float | None], teachers: tuple[str, ...]
) -> None:
    rows = [
        make_row(method, teacher, seed, fids[seed % 2])
        for method in ("out_kd", "lift_place_feat")
        for teacher in teachers
        for seed in range(6)
    ]
    assert "stability" in drawn(tmp_path, rows)


def test_a_study_with_three_teachers_has_every_figure(tmp_path: Path) -> None:
    found = drawn(tmp_path, toy_rows(8))
    assert {"stability", "forest_mean", "forest_spread", "exceedance", "trends", "cost"} <= set(found)
    assert all((tmp_path / "figures" / f"{name}.png").stat().st_size > 5000 for name in found)
    assert "capacity gap" in found["stability"].svg


def test_one_teacher_draws_no_gap_axis(tmp_path: Path) -> None:
    rows = [make_row(m, "small", seed, 50.0 + seed) for m in ("out_kd", "lift_place_feat") for seed in range(7)]
    found = drawn(tmp_path, rows)
    assert "trends" not in found
    assert "capacity gap" not in found["stability"].svg
    study = compute([tmp_path / "study"], None, 0)
    axes = stability_figure(study.entries)[0].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["lift_place_feat", "out_kd"]


def test_a_line_goes_through_the_mean_of_the_trainings_of_a_teacher(tmp_path: Path) -> None:
    rows = [
        make_row("out_kd", size, seed, fid + seed, teacher_id=f"{size}-{training}", teacher_seed=training)
        for size, fids in {"small": (50.0, 60.0), "large": (70.0, 90.0)}.items()
        for training, fid in enumerate(fids)
        for seed in range(7)
    ]
    axes = stability_figure(compute([write_study(tmp_path / "study", rows)], None, 0).entries)[0].axes[0]
    lines = [line.get_ydata() for line in axes.lines if line.get_linestyle() != "None"]
    assert [list(line) for line in lines] == [[55 + 3, 80 + 3]]
    assert axes.get_ylabel() == "FID, mean ± std and every try"


def test_an_axis_says_every_try_only_where_they_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "MAX_POINTS", 13)
    rows = [make_row("out_kd", size, seed, 50.0 + seed) for size in ("small", "large") for seed in range(7)]
    axes = stability_figure(compute([write_study(tmp_path / "study", rows)], None, 0).entries)[0].axes[0]
    assert axes.get_ylabel() == "FID, mean ± std"


def test_a_forest_fills_what_is_supported_and_points_out_of_the_picture() -> None:
    rows = [effect("mean", -5.0, (-8.0, -2.0), supported=True), effect("mean", 1.0, (-np.inf, np.inf))]
    figure = forest_figure(rows, "mean")
    assert figure is not None
    axes = figure.axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "white" for line in points] == [False, True]
    assert sorted(line.get_marker() for line in axes.lines if line.get_marker() in "<>") == ["<", ">"]
    low, high = axes.get_xlim()
    assert low < -8 < 1 < high


def test_a_forest_of_spreads_is_logarithmic_and_leaves_out_what_has_no_ratio() -> None:
    rows = [
        effect("spread", 0.5, (0.2, 1.1)),
        effect("spread", np.inf, (np.nan, np.nan)),
        effect("spread", 0.0, (0, 0)),
    ]
    figure = forest_figure(rows, "spread")
    assert figure is not None
    assert figure.axes[0].get_xscale() == "log"
    assert len(figure.axes[0].get_yticks()) == 1
    assert forest_figure(rows[1:], "spread") is None


def test_curves_end_at_the_share_of_diverged_tries(tmp_path: Path) -> None:
    rows = [make_row("out_kd", "small", seed, None if seed < 2 else 50.0 + seed) for seed in range(8)]
    rows += [make_row("lift_place_feat", "small", seed, 40.0 + seed) for seed in range(8)]
    results = compute([write_study(tmp_path / "study", rows)], None, 0)
    assert results.tries is not None
    figure = exceedance_figure(results.tries, results.methods)
    assert figure is not None
    ends = {line.get_label(): line.get_ydata()[-1] for line in figure.axes[0].lines}
    assert ends == pytest.approx({"out_kd": 0.25, "lift_place_feat": 0.0})


def test_components_are_stacked_to_a_hundred_percent() -> None:
    values = np.random.default_rng(0).normal(50, 2, (3, 6, 2)) + 5 * np.arange(6)[:, None]
    parts = components(values)
    assert parts is not None
    figure = components_figure([("out_kd, small", parts), ("nothing", parts)])
    assert figure is not None
    bars = figure.axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(200)
    assert components_figure([]) is None


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_error_maps_have_colour_bars(value: float) -> None:
    error = np.full((2, 4, 4), value)
    maps = ErrorMaps(np.array([1, 2]), error, np.zeros((4, 4)), np.zeros((2, 4, 4), dtype=np.int64))
    figure = error_figure({"lift_place": maps})
    assert figure is not None
    assert {axes.get_ylabel() for axes in figure.axes} >= {"squared error", "group"}

"""Trends take teachers as units; table 6's trend rests on one teacher."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.records.cells import group_cells
from analysis.records.published import published_runs
from analysis.statistics.teacher_trends import Trend, lack_of_fit, series_of, trend


def table6(method: str) -> Trend:
    series = series_of(group_cells(published_runs("table6")), method)
    fid = np.stack([cell.fid for cell in series])
    gaps = np.array([cell.capacity_gap for cell in series], dtype=float)
    names = [cell.teacher_name for cell in series]
    found = trend(fid, gaps, method=method, teachers=names, axis="capacity gap", shared_seeds=False)
    assert found is not None
    return found


def test_the_trend_of_out_feat_kd_rests_on_its_largest_teacher() -> None:
    found = table6("out_feat_kd")
    assert found.slope == pytest.approx(54.23, abs=0.01)
    assert dict(found.without)["celeba_78.7m"] == pytest.approx(1.33, abs=0.01)
    assert found.p_lack_of_fit == pytest.approx(0.0047, abs=1e-4)
    assert found.rests_on == "celeba_78.7m"
    assert found.p > 0.05  # four teachers, whatever the number of tries
    assert table6("out_kd").rests_on is None


def test_more_seeds_do_not_make_a_trend_surer() -> None:
    generator = np.random.default_rng(0)
    teachers = np.array([0.0, 3.0, 1.0, 4.0])[:, None]
    few = teachers + generator.normal(0, 1, (4, 5))
    p = []
    for fid in (few, np.tile(few, 20)):
        found = trend(fid, np.array([7.0, 12, 15, 60]), method="m", teachers=list("abcd"), axis="x", shared_seeds=False)
        assert found is not None
        p.append(found.p)
    assert p[0] == pytest.approx(p[1])
    assert p[0] == pytest.approx(stats.linregress(np.log2([7.0, 12, 15, 60]), few.mean(axis=1)).pvalue)


def test_lack_of_fit_by_hand() -> None:
    x = np.array([0.0, 1.0, 2.0])
    fid = np.array([[0.0, 2.0], [4.0, 6.0], [1.0, 1.0]])
    # means 1, 5, 1 around the line 7/3: 2 (4/3)^2 + 2 (8/3)^2 + 2 (4/3)^2 = 64/3; within teachers 2 + 2 + 0, 3 degrees
    assert lack_of_fit(x, fid, shared_seeds=False) == pytest.approx(stats.f.sf((64 / 3) / (4 / 3), 1, 3))
    # seeds shared: what is left without the means of seeds and teachers, on 2 degrees
    centred = fid - fid.mean(axis=1, keepdims=True) - fid.mean(axis=0) + fid.mean()
    error = (centred**2).sum() / 2
    assert lack_of_fit(x, fid, shared_seeds=True) == pytest.approx(stats.f.sf((64 / 3) / error, 1, 2))


@pytest.mark.parametrize("value", [0.0, 20.0, np.inf, np.nan])
def test_fids_without_a_trend_never_raise(value: float) -> None:
    found = trend(
        np.full((3, 4), value), np.array([1.0, 2, 4]), method="m", teachers=list("abc"), axis="x", shared_seeds=True
    )
    assert found is None or found.rests_on is None
    assert found is None or not found.p <= 0.05


def test_two_sizes_make_no_trend() -> None:
    fid = np.zeros((3, 4))
    assert trend(fid, np.array([1.0, 1, 2]), method="m", teachers=list("abc"), axis="x", shared_seeds=True) is None
    unknown = np.array([1.0, 2, np.nan])
    assert trend(fid, unknown, method="m", teachers=list("abc"), axis="x", shared_seeds=True) is None

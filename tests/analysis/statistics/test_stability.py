"""Curves P(FID > x), quantiles and diagnostics."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.diagnostics import (
    alike,
    carrying_seed,
    leave_one_seed_out,
    leave_one_teacher_out,
    worse_teachers,
)
from analysis.statistics.stability_curves import curve_positions, exceedance, exceedance_difference, quantiles


def test_a_curve_by_hand_ends_at_the_share_of_diverged_tries() -> None:
    fid = np.array([10.0, 20.0, 20.0, np.nan])
    assert exceedance(fid, np.array([5.0, 10.0, 15.0, 20.0, 1e9])) == pytest.approx([1.0, 0.75, 0.75, 0.25, 0.25])
    assert curve_positions(fid) == pytest.approx([10.0, 20.0])
    assert quantiles(fid, np.array([0.25, 0.5, 1.0])) == pytest.approx([10.0, 20.0, np.inf])


def test_the_difference_of_curves_is_tested_by_flips_of_seeds() -> None:
    generator = np.random.default_rng(0)
    seed = generator.normal(0, 5, 10)
    a, b = (50 + seed)[None], (80 + seed)[None]
    x = curve_positions(np.stack([a, b]))
    found = exceedance_difference(a, b, x, generator)
    assert found.difference.min() == pytest.approx(-1.0)
    assert found.p == pytest.approx(2 / 1024)
    assert exceedance_difference(a, a, x, generator).p == 1.0


def test_leaving_out_by_hand() -> None:
    a, b = np.array([[1.0, 2.0, 9.0], [1.0, 2.0, 3.0]]), np.zeros((2, 3))
    assert leave_one_seed_out(a, b) == pytest.approx([4.0, 3.5, 1.5])
    assert leave_one_teacher_out(a, b) == pytest.approx([2.0, 4.0])


def test_the_seed_that_carries_all_collapses() -> None:
    collapsed = np.zeros((5, 2, 5), dtype=bool)
    collapsed[:, :, 4] = True
    assert carrying_seed(collapsed, (10, 11, 12, 13, 14)) == (14, 10, 10)
    spread = np.zeros((2, 2, 4), dtype=bool)
    spread[0, 0], spread[1, 1] = True, True
    assert carrying_seed(spread, (0, 1, 2, 3)) is None


def test_methods_that_are_the_same_here() -> None:
    fid = np.random.default_rng(0).normal(100, 20, (3, 2, 5))
    fid[1] = fid[0] + 0.02
    assert [(i, j) for i, j, _ in alike(fid)] == [(0, 1)]
    fid[1, 0, 0] = np.nan  # diverged where the other did not
    assert alike(fid) == []


def test_teachers_worse_than_their_students() -> None:
    fid = np.full((2, 2, 3), 50.0)
    fid[1, 0] = 30.0
    assert worse_teachers(np.array([40.0, np.nan]), fid) == [(0, 1, 30.0)]

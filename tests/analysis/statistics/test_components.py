"""Variance components: by hand, against pairs counted one by one, and unbiased where seeds and noise are shared."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analysis.statistics.components import components


def by_pairs(values: np.ndarray, *, teachers: bool) -> float:
    """Mean of (x - y)^2 / 2 over pairs of other students and other noise, of other teachers or of the same."""
    found = []
    for first, second in itertools.product(np.ndindex(values.shape), repeat=2):
        if first[1] != second[1] and first[2] != second[2] and (first[0] != second[0]) == teachers:
            found.append((values[first] - values[second]) ** 2 / 2)
    return float(np.mean(found))


def test_components_are_pairs_counted_one_by_one() -> None:
    values = np.random.default_rng(0).normal(50, 3, (3, 4, 2)) + np.arange(3)[:, None, None]
    found = components(values)
    assert found is not None
    assert found.evaluation is not None
    assert found.student is not None
    assert found.teacher is not None
    same, other = by_pairs(values, teachers=False), by_pairs(values, teachers=True)
    assert found.evaluation.variance == pytest.approx(values.var(axis=2, ddof=1).mean())
    assert found.student_and_evaluation.variance == pytest.approx(same)
    assert found.student.variance == pytest.approx(same - found.evaluation.variance)
    assert found.teacher.variance == pytest.approx(other - same)


def test_they_are_unbiased_where_students_and_noise_are_shared() -> None:
    generator, sums = np.random.default_rng(1), np.zeros(3)
    for _ in range(3000):
        teacher, student = 2 * generator.normal(size=(3, 1, 1)), 3 * generator.normal(size=(1, 4, 1))
        noise, own = generator.normal(size=(1, 1, 2)), generator.normal(size=(3, 4, 2))
        found = components(teacher + student + noise + own)
        assert found is not None
        assert found.evaluation is not None
        assert found.student is not None
        assert found.teacher is not None
        sums += [found.evaluation.variance, found.student.variance, found.teacher.variance]
    assert sums / 3000 == pytest.approx([2.0, 9.0, 4.0], rel=0.07)


def test_one_noise_seed_and_one_teacher_leave_one_component() -> None:
    values = np.array([50.0, 52, 51, 60, 55])[None, :, None]
    found = components(values)
    assert found is not None
    assert (found.evaluation, found.student, found.teacher) == (None, None, None)
    assert found.student_and_evaluation.std == pytest.approx(values.std(ddof=1))
    low, high = found.student_and_evaluation.interval
    assert low < values.var(ddof=1) < high


def test_a_seed_without_a_fid_is_left_out_and_too_few_give_none() -> None:
    values = np.array([50.0, np.nan, 51, 60])[None, :, None]
    found = components(values)
    assert found is not None
    assert found.num_students == 3
    assert components(values[:, :2]) is None

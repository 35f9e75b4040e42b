"""What a std is made of: the seed of the student, the noise of the evaluation, the training of the teacher.

With G trainings of one teacher, n students each and R noise seeds an evaluation, half the mean squared difference of
two FIDs says what differs between them: two evaluations of one student (evaluation noise), two students of one teacher
(student and evaluation), two students of two trainings (all three). Differences of these are unbiased estimates of the
components whether or not seeds and noise are shared, and they add up to the variance of a new FID.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from scipy import special

from analysis.records.cells import FloatArray
from analysis.statistics.intervals import LEVEL, NAN, Interval

_MAX_PARTS = 50  # of the jackknife; more seeds are left out in groups


@dataclass(frozen=True, kw_only=True)
class Component:
    """One variance in squared FID points (may be below zero by chance), its jackknife interval and its std."""

    variance: float
    interval: Interval
    std: float  # root of the variance, 0 where that is below zero
    std_interval: Interval


@dataclass(frozen=True, kw_only=True)
class Components:
    """The components of one method at one size of teacher; None where they cannot be told apart.

    With one noise seed `student` is None and `student_and_evaluation` holds both. Intervals of the first three leave
    out students' seeds, that of `teacher` (None below two) leaves out trainings of the teacher; none below three units.
    """

    evaluation: Component | None
    student: Component | None
    student_and_evaluation: Component
    teacher: Component | None
    num_teachers: int
    num_students: int
    num_noises: int


def components(values: FloatArray) -> Components | None:
    """The components of FIDs `values` (G, n, R): trainings of the teacher, students' seeds, noise seeds.

    Only students whose FIDs are all finite take part: a seed with another is left out everywhere. None below two.
    """
    values = values[:, np.isfinite(values).all(axis=(0, 2))]
    num_teachers, n, num_noises = values.shape
    if n < 2:
        return None
    several = num_noises > 1
    return Components(
        evaluation=_over_seeds(values, evaluation_variance) if several else None,
        student=_over_seeds(values, student_variance) if several else None,
        student_and_evaluation=_over_seeds(values, student_and_evaluation_variance),
        teacher=_over_teachers(values) if num_teachers > 1 else None,
        num_teachers=num_teachers, num_students=n, num_noises=num_noises,
    )  # fmt: skip


def evaluation_variance(values: FloatArray) -> float:
    """Variance over the noise seeds of one student of `values` (G, n, R), mean over students."""
    return float(values.var(axis=2, ddof=1).mean())


def student_and_evaluation_variance(values: FloatArray) -> float:
    """Variance of a student with a new seed, evaluated with new noise, under one teacher; values (G, n, R)."""
    pairs = [_half_squared_difference(part) for part in values]  # (n, R): both differ where there are noise seeds
    return float(np.mean(pairs))


def student_variance(values: FloatArray) -> float:
    return student_and_evaluation_variance(values) - evaluation_variance(values)


def teacher_variance(values: FloatArray) -> float:
    """Variance that a new training of the teacher adds, values (G, n, R), G >= 2."""
    return _half_squared_difference(values) - student_and_evaluation_variance(values)


def _half_squared_difference(values: FloatArray) -> float:
    """Mean of (x - y)^2 / 2 over pairs whose indices differ along every axis of more than one element.

    By inclusion and exclusion: the sum of products of such pairs is that of sums over fewer and fewer axes.
    """
    values = values - values.mean()
    axes = [axis for axis, size in enumerate(values.shape) if size > 1]
    products = 0.0
    for same in chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)):
        free = tuple(axis for axis in axes if axis not in same)
        products += (-1) ** len(same) * float((values.sum(axis=free) ** 2).sum())
    pairs = values.size * float(np.prod([values.shape[axis] - 1 for axis in axes]))
    return float((values**2).mean()) - products / pairs


def _over_seeds(values: FloatArray, of: Callable[[FloatArray], float]) -> Component:
    return _jackknife(values, of, axis=1)


def _over_teachers(values: FloatArray) -> Component:
    return _jackknife(values, teacher_variance, axis=0)


def _jackknife(values: FloatArray, of: Callable[[FloatArray], float], axis: int) -> Component:
    """`of` (values) with the t interval of its pseudo-values when units along `axis` are left out; needs three."""
    whole = float(of(values))
    parts = np.array_split(np.arange(values.shape[axis]), min(values.shape[axis], _MAX_PARTS))
    count = len(parts)
    if count < 3:
        return _component(whole, NAN)
    pseudo = np.array([count * whole - (count - 1) * float(of(np.delete(values, part, axis))) for part in parts])
    half = float(special.stdtrit(count - 1, (1 + LEVEL) / 2) * pseudo.std(ddof=1)) / np.sqrt(count)
    return _component(whole, (float(pseudo.mean()) - half, float(pseudo.mean()) + half))


def _component(variance: float, interval: Interval) -> Component:
    low, high = (float(np.sqrt(max(bound, 0.0))) if np.isfinite(bound) else float("nan") for bound in interval)
    return Component(
        variance=variance, interval=interval, std=float(np.sqrt(max(variance, 0.0))), std_interval=(low, high)
    )

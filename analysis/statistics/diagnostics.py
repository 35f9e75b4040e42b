"""What a result hangs on: one seed, one teacher, a method that is another one, a teacher worse than its students."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.records.cells import FloatArray
from analysis.statistics.common_seeds import worst_filled

ALIKE = 1e-3  # of the mean FID: methods whose every try differs by less are one method here


def leave_one_seed_out(fid_a: FloatArray, fid_b: FloatArray) -> FloatArray:
    """The difference of means a - b (n,) without each of the n seeds, of fid_a and fid_b (T, n); n >= 2."""
    each = _differences(fid_a, fid_b).mean(axis=0)
    return np.asarray((each.sum() - each) / (len(each) - 1))


def leave_one_teacher_out(fid_a: FloatArray, fid_b: FloatArray) -> FloatArray:
    """The difference of means a - b (T,) without each of the T teachers, of fid_a and fid_b (T, n); T >= 2."""
    each = _differences(fid_a, fid_b).mean(axis=1)
    return np.asarray((each.sum() - each) / (len(each) - 1))


def carrying_seed(collapsed: npt.NDArray[np.bool_], seeds: Sequence[int]) -> tuple[int, int, int] | None:
    """The seed with the most collapsed members of `collapsed` (M, T, n), how many those are, and how many there are.

    None below two collapsed members, or where no seed has more than half of them.
    """
    counts = collapsed.sum(axis=(0, 1))
    total, place = int(counts.sum()), int(counts.argmax())
    hits = int(counts[place])
    return (int(seeds[place]), hits, total) if total > 1 and 2 * hits > total else None


def alike(fid: FloatArray) -> list[tuple[int, int, float]]:
    """Pairs (i, j) of the M methods of `fid` (M, T, n) that are the same here, and their largest difference.

    The same: wherever one diverged so did the other, and no try differs by more than a thousandth of the mean FID.
    """
    finite = np.isfinite(fid)
    known = np.where(finite, fid, 0.0)
    most = ALIKE * float(np.abs(fid[finite]).mean()) if finite.any() else 0.0
    found = []
    for i in range(len(fid)):
        for j in range(i + 1, len(fid)):
            largest = float(np.abs(known[i] - known[j]).max())
            if largest <= most and (finite[i] == finite[j]).all():
                found.append((i, j, largest))
    return found


def worse_teachers(teacher_fid: FloatArray, fid: FloatArray) -> list[tuple[int, int, float]]:
    """(t, i, mean FID) where method i of `fid` (M, T, n) is on average better than its teacher, teacher_fid (T,)."""
    better = worst_filled(fid).mean(axis=2).T  # (T, M)
    places = np.argwhere(better - np.asarray(teacher_fid)[:, None] < 0)
    return [(int(t), int(i), float(better[t, i])) for t, i in places]


def _differences(fid_a: FloatArray, fid_b: FloatArray) -> FloatArray:
    first, second = worst_filled(np.stack([fid_a, fid_b]))
    return np.asarray(first - second)

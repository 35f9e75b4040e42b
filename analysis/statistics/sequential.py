"""Seeds added one at a time until two methods are told apart: a group-sequential test with a look after every seed.

Looking after every seed at level alpha would find a difference far too often where there is none. Therefore every look
is made at one lower level, such that under normal paired differences without a difference of means the chance that any
look falls below it is alpha (Pocock 1977, with Student's t in place of the normal, since the looks have few seeds).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]
_NUM_STUDIES = 100_000


def paired_p(differences: FloatArray) -> FloatArray:
    """Two-sided p of the paired t test after 2, 3, ... n seeds; differences (..., n), p (..., n - 1).

    Where all differences so far are equal p is 0, or 1 where they are all 0.
    """
    n = np.arange(1, differences.shape[-1] + 1)
    centred = differences - differences[..., :1]  # the sums below lose no digits to a common offset
    mean = np.cumsum(centred, axis=-1) / n
    square = np.cumsum(centred**2, axis=-1) - n * mean**2
    n, mean = n[1:], (mean + differences[..., :1])[..., 1:]
    std = np.sqrt(np.maximum(square[..., 1:], 0.0) / (n - 1))
    t = np.divide(np.abs(mean) * np.sqrt(n), std, out=np.where(mean == 0, 0.0, np.inf), where=std > 0)
    p: FloatArray = 2 * special.stdtr(n - 1, -t)
    return p


@cache
def look_level(first: int, last: int, alpha: float) -> float:
    """The level of every look, one after each of the seeds first .. last, that keeps the whole at alpha.

    By simulation of 100,000 studies with a fixed seed: the same on every machine, and within 0.0015 at alpha 0.05.
    """
    generator = np.random.default_rng(20250729)
    p = paired_p(generator.standard_normal((_NUM_STUDIES, last)))[:, first - 2 :]
    return float(np.quantile(p.min(axis=1), alpha))


def decided(differences: FloatArray, *, first: int, last: int, alpha: float) -> int | None:
    """The number of seeds after which it is decided that the mean difference is not 0; None when it is not yet.

    differences: FID of a minus FID of b, one for every seed so far, in the order in which the seeds were added; looks
    begin after `first` seeds and end after `last`. A difference that is not finite (a member diverged) decides nothing,
    and no later look is made: all seeds are then used.
    """
    finite = np.isfinite(differences)
    num = int(np.argmin(finite)) if not finite.all() else len(differences)
    if num < first:
        return None
    p = paired_p(differences[:num])[first - 2 :]
    hits = np.flatnonzero(p <= look_level(first, last, alpha))
    return first + int(hits[0]) if len(hits) else None

"""The report's own tests and intervals on simulated studies: each function returns rates for one number of seeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.records.cells import FloatArray
from analysis.statistics import regroupings as unpaired
from analysis.statistics.common_seeds import Tries, spread_scores
from analysis.statistics.components import components
from analysis.statistics.contrasts import Contrast, answered_together, contrasts
from analysis.statistics.family import ALPHA
from analysis.statistics.power import paired_p
from analysis.statistics.simulated import COLLAPSE, SeedEffects, draw, hard_effects
from analysis.statistics.teacher_trends import teacher_slope

Rate = tuple[str, str, float]  # kind, name, rate
_NUM_INTERVALS = 400  # studies whose simultaneous intervals are computed too
_POWER_RATIO = 0.6


def paired_rates(
    effects: SeedEffects, collapse: tuple[float, float], n: int, generator: np.random.Generator, replicates: int
) -> list[Rate]:
    """Errors of one declared pair at one teacher, means equal; of spreads only where they are equal too.

    Its intervals are the tests turned around: they cover what the tests do not reject.
    """
    fid = draw(effects, (replicates, 2, 1, n), generator, collapse_rates=np.array(collapse))
    fid[:, 0] -= collapse[0] * COLLAPSE
    fid[:, 1] -= collapse[1] * COLLAPSE
    found: list[Rate] = [
        ("error", "mean of the primary pair", _share(paired_p("mean", fid[:, 0], fid[:, 1], generator)))
    ]
    if collapse[0] == collapse[1]:
        p = paired_p("spread", fid[:, 0], fid[:, 1], generator)
        found.append(("error", "spread of the primary pair", _share(p)))
    return found


def family_rates(
    effects: SeedEffects, collapse: tuple[float, float], n: int, generator: np.random.Generator, replicates: int
) -> list[Rate]:
    """How often any of the last step's hypotheses is called supported, and all its intervals hold, four methods alike.

    The primary pair is taken to differ, so that the sequence reaches the last step: three methods against the baseline
    in mean, spread and collapse.
    """
    rates = np.full(4, collapse[0])
    fid = draw(effects, (replicates, 4, 2, n), generator, collapse_rates=rates)
    asked = contrasts([("1", "0"), ("2", "0"), ("3", "0")], ("mean", "spread", "collapse"))
    errors, held = [], []
    for place, study in enumerate(fid):
        intervals = place < _NUM_INTERVALS
        tested = answered_together(_tries(study), asked, generator, intervals=intervals)
        errors.append(any(one.p_adjusted <= ALPHA for one in tested))
        if intervals:
            held.append(all(_holds(one, {"mean": 0.0, "spread": 1.0, "collapse": 0.0}[one.kind]) for one in tested))
    return [
        ("error", "any of 9 others against the baseline", float(np.mean(errors))),
        ("coverage", "all 9 simultaneous intervals", float(np.mean(held))),
    ]


def unpaired_rates(n: int, generator: np.random.Generator, replicates: int) -> list[tuple[str, Rate]]:
    """Errors of the permutation tests of tries that share no seed."""
    masks = unpaired.regroupings(n, n, generator, limit=1000)
    noise = generator.standard_normal((2, replicates, 1, n))
    hits = generator.random(noise.shape) < 0.2
    found = []
    for case, (a, b) in (
        ("independent tries", noise),
        ("independent tries, 20% collapse, both", noise + 20 * hits),
        ("independent tries, equal means, std ratio 10", (noise[0], 10 * noise[1])),
    ):
        found.append((case, ("error", "mean, permuted", _share(unpaired.permutation_p(a, b, masks)))))
        if "ratio" not in case:
            scores = spread_scores(a, b)
            found.append((case, ("error", "spread, permuted", _share(unpaired.permutation_p(*scores, masks)))))
    return found


def power_rates(n: int, generator: np.random.Generator, replicates: int) -> list[Rate]:
    """Power of the paired spread test of one pair, and of the same scores permuted as if tries were not paired."""
    fid = draw(hard_effects(), (replicates, 2, 1, n), generator)
    a, b = (fid[:, 0] - 100) * _POWER_RATIO, fid[:, 1] - 100
    masks = unpaired.regroupings(n, n, generator, limit=1000)
    few = slice(0, replicates // 4)
    scores = spread_scores(a[few], b[few])
    return [
        ("power", "spread of the primary pair", _share(paired_p("spread", a, b, generator))),
        ("power", "spread, permuted (ignores the pairing)", _share(unpaired.permutation_p(*scores, masks))),
    ]


def trend_rates(n: int, generator: np.random.Generator, replicates: int) -> list[Rate]:
    """Errors of the slope over four teachers when each teacher adds its own normal effect of half a std."""
    x = np.log2(np.array([7.1, 12.8, 15.2, 60.5]))  # the capacity gaps of the paper's Table 6
    means = 0.5 * generator.standard_normal((replicates, 4)) + generator.standard_normal((replicates, 4)) / np.sqrt(n)
    p = np.array([teacher_slope(x, y)[2] for y in means])
    return [("error", "slope over teachers", _share(p))]


def component_rates(n: int, generator: np.random.Generator, replicates: int) -> list[Rate]:
    """Coverage of the jackknife intervals of components: 5 trainings of a teacher, n students, 3 noise seeds."""
    hits = []
    for _ in range(replicates):
        teacher, student = generator.standard_normal((5, 1, 1)), 2 * generator.standard_normal((1, n, 1))
        both, noise = generator.standard_normal((5, n, 1)), generator.standard_normal((5, n, 3))
        found = components(teacher + student + both + noise)
        assert found is not None
        assert found.evaluation is not None
        assert found.student is not None
        assert found.teacher is not None
        parts = ((found.evaluation, 1.0), (found.student, 5.0), (found.teacher, 1.0))
        hits.append([part.interval[0] <= truth <= part.interval[1] for part, truth in parts])
    rates = np.mean(hits, axis=0)
    names = ("component: evaluation noise", "component: student seed", "component: teacher (5 trainings)")
    return [("coverage", name, float(rate)) for name, rate in zip(names, rates, strict=True)]


def _tries(fid: FloatArray) -> Tries:
    """One simulated study (M, T, n) as the report's tests take it; collapsed: more than half a collapse above 100."""
    methods, teachers, n = fid.shape
    collapsed: npt.NDArray[np.bool_] = fid > 100 + COLLAPSE / 2
    return Tries(
        methods=tuple(map(str, range(methods))), teachers=tuple(map(str, range(teachers))),
        gaps=np.arange(1.0, teachers + 1), seeds=tuple(range(n)), fid=fid, collapsed=collapsed, num_left_out=0,
        left_out=(), paired=True,
    )  # fmt: skip


def _share(p: FloatArray) -> float:
    return float((p <= ALPHA).mean())


def _holds(one: Contrast, truth: float) -> bool:
    low, high = one.interval
    return bool(np.isnan(low) or low <= truth <= high)

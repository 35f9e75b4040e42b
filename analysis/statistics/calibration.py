"""python -m analysis.statistics.calibration: what intervals cover and how often tests are wrong.

Simulated studies whose truth is known: FIDs around 20 that are normal, heavy-tailed (Student's t, 3 degrees of freedom)
or a mixture in which one run in ten collapses to about 200. The result is shipped as
analysis/published/calibration.json, is checked by the tests and stands in the appendix of every report.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from scipy import stats

from analysis.records.cells import FloatArray
from analysis.statistics.intervals import (
    Interval,
    bootstrap_interval,
    mean_interval,
    median_interval,
    rate_interval,
    std_interval,
    superiority_interval,
)
from analysis.statistics.rank_trends import rank_trends
from analysis.statistics.trends import mean_slope, slope_weights, spread_slope
from analysis.statistics.two_samples import (
    mean_test,
    paired_t_p,
    regroupings,
    sign_flip_p,
    spread_slope_test,
    spread_test,
    units,
)

DISTRIBUTIONS = ("normal", "heavy-tailed", "collapse mixture")
OFTEN = "collapse mixture, 30%"  # for the tests only
NUM_SEEDS = (3, 5, 10)
COLLAPSE_RATE = 0.1
NUM_TEACHERS = 4
LEVEL = 0.05
_X = np.log2(np.array([7.1, 12.8, 15.2, 60.5]))  # the capacity gaps of the paper's Table 6
_STD = 3.0
_TRUE_MEAN = {"normal": 20.0, "heavy-tailed": 20.0, "collapse mixture": 38.0}
_TRUE_STD = {
    "normal": _STD,
    "heavy-tailed": _STD * np.sqrt(3),
    "collapse mixture": np.sqrt(0.9 * _STD**2 + 0.1 * (7 * _STD) ** 2 + 0.09 * 180**2),
}


@dataclass(frozen=True)
class Calibration:
    """A measured rate: of intervals that hold the truth (nominal 0.95), or of tests with p <= 0.05 where nothing is
    there.

    `used` says whether the report goes by it; the others show why it does not.
    """

    kind: str  # coverage or false positives
    name: str
    distribution: str
    num_seeds: int
    rate: float
    nominal: float
    used: bool


def draw(distribution: str, shape: tuple[int, ...], generator: np.random.Generator) -> FloatArray:
    """Simulated FIDs of `shape`; means and stds are _TRUE_MEAN and _TRUE_STD."""
    if distribution == "heavy-tailed":
        return np.asarray(20.0 + _STD * generator.standard_t(3, shape))
    noise = _STD * generator.standard_normal(shape)
    rate = {"collapse mixture": COLLAPSE_RATE, OFTEN: 0.3}.get(distribution, 0.0)
    if rate:
        noise = np.where(generator.random(shape) < rate, 180.0 + 7 * noise, noise)
    return np.asarray(20.0 + noise)


def calibrate(generator: np.random.Generator, *, replicates: int = 4000) -> list[Calibration]:
    """All rates, for DISTRIBUTIONS and NUM_SEEDS; the slow ones from a part of `replicates`."""
    found = []
    for distribution in (*DISTRIBUTIONS, OFTEN):
        for num_seeds in NUM_SEEDS:
            if distribution != OFTEN:
                found += coverages(distribution, num_seeds, generator, replicates)
            found += false_positives(distribution, num_seeds, generator, replicates)
    return found


def coverages(distribution: str, num_seeds: int, generator: np.random.Generator, replicates: int) -> list[Calibration]:
    """Coverage of every interval at one distribution and number of seeds."""
    tries = draw(distribution, (replicates, num_seeds), generator)
    mean, std = _TRUE_MEAN[distribution], float(_TRUE_STD[distribution])
    few = tries[: max(replicates // 3, 1)]
    studies = draw(distribution, (len(few), NUM_TEACHERS, num_seeds), generator)
    weights = slope_weights(_X)
    others = draw(distribution, few.shape, generator)
    rates = generator.random(replicates)
    hits = generator.binomial(num_seeds, rates)
    wilson = np.array([rate_interval(hit, num_seeds) for hit in range(num_seeds + 1)])[hits] - rates[:, None]

    def slope(study: FloatArray, of: Callable[..., object], shared: bool) -> Interval:
        return of(study, weights, shared_seeds=shared).interval  # type: ignore[attr-defined, no-any-return]

    checks: list[tuple[str, float, bool, list[Interval]]] = [
        ("mean: t", mean, True, [mean_interval(row) for row in tries]),
        ("mean: percentile bootstrap", mean, False, [bootstrap_interval(row, "mean", generator) for row in few]),
        ("std: chi-square", std, True, [std_interval(row) for row in tries]),
        ("std: percentile bootstrap", std, False, [bootstrap_interval(row, "std", generator) for row in few]),
        ("collapse rate, mean over all rates: Wilson", 0.0, True, [(low, high) for low, high in wilson]),
        ("P(a beats b): Newcombe", 0.5, True, [_superiority(*pair) for pair in zip(few, others, strict=True)]),
        ("paired difference of means: t", 0.0, True, [mean_interval(a - b) for a, b in zip(few, others, strict=True)]),
        ("slope of mean: t over seeds", 0.0, True, [slope(study, mean_slope, True) for study in studies]),
        ("slope of log std: jackknife over seeds", 0.0, True, [slope(study, spread_slope, True) for study in studies]),
        ("slope of log std: jackknife, no shared seeds", 0.0, True, [slope(s, spread_slope, False) for s in studies]),
    ]
    found = [
        Calibration("coverage", name, distribution, num_seeds, _coverage(intervals, truth), 0.95, used)
        for name, truth, used, intervals in checks
    ]
    median = (
        20.0 if distribution != "collapse mixture" else float(20 + _STD * stats.norm.ppf(0.5 / (1 - COLLAPSE_RATE)))
    )
    ranges = [median_interval(row) for row in tries]
    rate = _coverage([(low, high) for low, high, _ in ranges], median)
    return [
        *found,
        Calibration("coverage", "median: order statistics", distribution, num_seeds, rate, ranges[0][2], True),
    ]


def false_positives(
    distribution: str, num_seeds: int, generator: np.random.Generator, replicates: int
) -> list[Calibration]:
    """Rate of p <= 0.05 of every test where both methods have the same distribution of FID."""
    a, b = (draw(distribution, (replicates, NUM_TEACHERS, num_seeds), generator) for _ in range(2))
    one_a, one_b = a[:, :1], b[:, :1]
    masks = regroupings(num_seeds, num_seeds, generator, limit=1000)
    blocks = regroupings(num_seeds, num_seeds, generator, strata=NUM_TEACHERS, limit=1000)
    wide = one_b if distribution.startswith("collapse") else 20 + 10 * (one_b - 20)
    shared = [units(part, shared_seeds=True) for part in (a, b)]
    ratios = stats.f.cdf(one_a.var(axis=-1, ddof=1) / one_b.var(axis=-1, ddof=1), num_seeds - 1, num_seeds - 1)
    checks = [
        ("mean: permutation and Welch", True, mean_test(one_a, one_b, masks)),
        ("mean: the same, std ratio 10", True, mean_test(one_a, wide, masks)),
        ("mean over 4 teachers, shared seeds", True, mean_test(shared[0], shared[1], masks)),
        ("mean over 4 teachers, independent", True, mean_test(a, b, blocks)),
        ("slope of spread, shared seeds", True,
         spread_slope_test(a, b, slope_weights(_X), masks=masks, shared_seeds=True)),
        ("slope of spread, independent", True,
         spread_slope_test(a, b, slope_weights(_X), masks=blocks, shared_seeds=False)),
        ("mean: paired t", True, paired_t_p((one_a - one_b)[:, 0])),
        ("mean: sign-flip of pairs", True, sign_flip_p((one_a - one_b)[:, 0], generator)),
        ("spread: Brown-Forsythe, permuted", True, spread_test(one_a, one_b, masks)),
        ("spread over 4 teachers, shared seeds", True, spread_test(a, b, masks)),
        ("spread over 4 teachers, independent", True, spread_test(a, b, blocks, shared_seeds=False)),
        ("spread: F test", False, 2 * np.minimum(ratios, 1 - ratios)),
    ]  # fmt: skip
    few = a[: max(replicates // 4, 1)]
    ranks = np.array([rank_trends(_X, study, generator, shared_seeds=True, resamples=199) for study in few])
    free = np.array([rank_trends(_X, study, generator, shared_seeds=False, resamples=199) for study in a])
    checks += [
        ("trend of mean: Page, shared seeds", True, ranks[:, 0]),
        ("trend of spread, shared seeds", True, ranks[:, 1]),
        ("trend of mean: ranks, permuted", True, free[:, 0]),
        ("trend of spread, independent", True, free[:, 1]),
    ]
    return [
        Calibration("false positives", name, distribution, num_seeds, float((p <= LEVEL).mean()), LEVEL, used)
        for name, used, p in checks
    ]


def shipped() -> list[Calibration]:
    """The rates that are shipped with the program."""
    text = (resources.files("analysis") / "published" / "calibration.json").read_text(encoding="utf-8")
    return [Calibration(**row) for row in json.loads(text)["rates"]]


def main(argv: list[str]) -> int:
    """Simulates and writes the file named in argv (default: the shipped one); takes about a minute."""
    target = Path(argv[0]) if argv else Path(str(resources.files("analysis") / "published" / "calibration.json"))
    replicates = 10_000
    rates = calibrate(np.random.default_rng(0), replicates=replicates)
    lines = ",\n".join("  " + json.dumps({**asdict(rate), "rate": round(rate.rate, 4)}) for rate in rates)
    target.write_text(f'{{"replicates": {replicates}, "seed": 0, "rates": [\n{lines}\n]}}\n', encoding="utf-8")
    for rate in rates:
        print(f"{rate.kind:16} {rate.name:46} {rate.distribution:17} n={rate.num_seeds:<3} {rate.rate:.3f}")
    return 0


def _superiority(a: FloatArray, b: FloatArray) -> Interval:
    probability = float((a[:, None] < b[None]).mean())
    return superiority_interval(probability, len(a), len(b))


def _coverage(intervals: list[Interval], truth: float) -> float:
    bounds = np.array(intervals)
    return float(((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

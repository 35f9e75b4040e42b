"""python -m analysis.statistics.calibration: how often tests are wrong, what intervals cover, what the tests find.

Simulated studies whose truth is known, with the shared seed effects of the reference study
(analysis/statistics/simulated.py), without and with collapses of single methods. The result is shipped as
analysis/published/calibration.json, is checked by the tests and stands in the appendix of every report.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np

from analysis.statistics.calibrated_tests import (
    Rate,
    component_rates,
    family_rates,
    paired_rates,
    power_rates,
    trend_rates,
    unpaired_rates,
)
from analysis.statistics.simulated import SeedEffects, hard_effects, shipped_effects

NUM_SEEDS = (3, 5, 10, 20, 40)
ERROR_LIMIT = 0.055
REPLICATES = 10_000


@dataclass(frozen=True)
class Case:
    """What is simulated: the seed effects, how often each of two methods collapses, and whether means are made equal.

    `same` says that both methods have one distribution, which is what the tests promise their level for.
    """

    name: str
    effects: SeedEffects
    collapse: tuple[float, float] = (0.0, 0.0)

    @property
    def same(self) -> bool:
        return self.collapse[0] == self.collapse[1]


@dataclass(frozen=True)
class Calibration:
    """A measured rate: errors (p <= 0.05 where nothing is there), coverage (of 95% intervals) or power.

    `holds` says whether the rate keeps the promise: at most 5.5% errors, at least 93% coverage; power has none.
    """

    kind: str
    name: str
    case: str
    num_seeds: int
    rate: float
    nominal: float | None  # None: power, which promises nothing
    holds: bool


def cases() -> list[Case]:
    """Seeds without and with hard ones, collapses of 10 and 20% of the seeds of both methods or of one."""
    easy = replace(shipped_effects(), hard_rate=0.0)
    return [
        Case("shared seeds", easy),
        Case("shared seeds, 20% hard", hard_effects()),
        Case("10% collapse, both", easy, (0.1, 0.1)),
        Case("20% collapse, both", easy, (0.2, 0.2)),
        Case("10% collapse, one side, equal means", easy, (0.1, 0.0)),
        Case("20% collapse, one side, equal means", easy, (0.2, 0.0)),
    ]


def calibrate(generator: np.random.Generator, *, replicates: int = REPLICATES) -> list[Calibration]:
    """All rates; those of whole families from two fifths of `replicates`."""
    return [_judged(*found) for found in _rates(generator, replicates)]


def _rates(generator: np.random.Generator, replicates: int) -> Iterator[tuple[str, int, Rate]]:
    for case in cases():
        for n in NUM_SEEDS:
            rates = paired_rates(case.effects, case.collapse, n, generator, replicates)
            if case.same:
                rates += family_rates(case.effects, case.collapse, n, generator, replicates * 2 // 5)
            for rate in rates:
                yield case.name, n, rate
    for n in (3, 5, 10):
        for name, rate in unpaired_rates(n, generator, replicates):
            yield name, n, rate
    for n in NUM_SEEDS:
        for rate in power_rates(n, generator, replicates):
            yield "spread ratio 0.6, 20% hard", n, rate
    for n in (5, 10, 40):
        for rate in trend_rates(n, generator, replicates):
            yield "4 teachers that differ by half a std", n, rate
    for n in (5, 10, 20):
        for rate in component_rates(n, generator, replicates // 20):
            yield "normal", n, rate


def _judged(case: str, num_seeds: int, found: Rate) -> Calibration:
    kind, name, rate = found
    nominal: float | None = {"error": 0.05, "coverage": 0.95, "power": None}[kind]
    holds = {"error": rate <= ERROR_LIMIT, "coverage": rate >= 0.93, "power": True}[kind]
    return Calibration(kind, name, case, num_seeds, rate, nominal, holds)


def shipped() -> list[Calibration]:
    """The rates that are shipped with the program."""
    rows = json.loads(_shipped_path().read_text(encoding="utf-8"))["rates"]
    return [
        Calibration(**{**row, "nominal": float("nan") if row["nominal"] is None else row["nominal"]}) for row in rows
    ]


def write(target: Path, rates: Sequence[Calibration], *, replicates: int, seed: int) -> None:
    """Writes `rates` as JSON, one a line."""
    rows = [{**asdict(rate), "rate": round(rate.rate, 4)} for rate in rates]
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    target.write_text(f'{{"replicates": {replicates}, "seed": {seed}, "rates": [\n{lines}\n]}}\n', encoding="utf-8")


def main(argv: list[str]) -> int:
    """Simulates, prints every rate and writes them to a file; takes a few minutes."""
    parser = argparse.ArgumentParser(prog="python -m analysis.statistics.calibration", description=__doc__)
    parser.add_argument(
        "target", nargs="?", type=Path, default=_shipped_path(), help="where to write (default: %(default)s)"
    )
    parser.add_argument(
        "--replicates", type=int, default=REPLICATES, help="simulated studies a rate (default: %(default)s)"
    )
    chosen = parser.parse_args(argv)
    if chosen.replicates < 40:
        parser.error(f"--replicates must be at least 40 but got {chosen.replicates}")
    rates = calibrate(np.random.default_rng(0), replicates=chosen.replicates)
    write(chosen.target, rates, replicates=chosen.replicates, seed=0)
    for one in rates:
        note = "" if one.holds else "  does not hold"
        print(f"{one.kind:9} {one.name:44} {one.case:37} n={one.num_seeds:<3} {one.rate:.3f}{note}")
    return 0


def _shipped_path() -> Path:
    return Path(str(resources.files("analysis") / "published" / "calibration.json"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

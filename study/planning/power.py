"""What the planned seeds can show of the declared primary comparison, before they are run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from analysis.records.cells import FloatArray, Kind, labels
from analysis.records.rows import read_runs
from analysis.results.settings import primary_of
from analysis.statistics.power import (
    DIFFERENCES,
    OWN_ROWS,
    RATIOS,
    DesignPower,
    PairModel,
    design_power,
    fit_pair,
    shipped_pair,
)
from study.config.study import StudyConfig
from trainables.specs import Member

ENOUGH_SEEDS = 10  # of the study's own: fewer say too little of how seeds differ
MIN_SEEDS = 3
RunIds = Mapping[str | None, Mapping[int, str]]  # of one method, by teacher_id and seed


def describe_power(config: StudyConfig, planned: Sequence[Member]) -> str:
    """A line or two: the power of the planned seeds, or why no power is said."""
    if config.tuning is not None:
        return f"power of the primary comparison: not computed where settings are searched ({config.tuning.name})"
    by_method, names = _by_label(planned)
    try:
        pair = primary_of(config.report, names)
    except ValueError as error:  # rows of another sweep may hold the method
        return f"power of the primary comparison: not computed, for {error}"
    if pair is None:
        return f"power of the primary comparison: none, for there is one method ({', '.join(names)})"
    start = f"primary comparison, {pair[0]} against {pair[1]}"
    first, second = (by_method[label] for label in pair)
    teachers = _common_teachers(first, second)
    if not teachers:
        return f"{start}: the two have no teacher in common"
    seeds = sorted(set.intersection(*({*_at(row, teacher)} for row in (first, second) for teacher in teachers)))
    if len(seeds) < MIN_SEEDS:
        return f"{start}: nothing, with {len(seeds)} of the {MIN_SEEDS} seeds that it takes at least"
    generator = np.random.default_rng(0)
    model = _own_pair(config.study_dir, first, second, teachers) or shipped_pair(len(teachers), generator)
    design = design_power(model, num_seeds=len(seeds), generator=generator)
    source = model.source if model.source == OWN_ROWS else "the shipped seed effects of digits_reference"
    return (
        f"{start}: {len(seeds)} seeds at {len(teachers)} teacher{'s' if len(teachers) > 1 else ''}, from {source}\n"
        f"found in 80% of studies, each test at 5%: {_text(design)}"
    )


def _by_label(planned: Sequence[Member]) -> tuple[dict[str, RunIds], dict[str, str]]:
    """The planned run_ids by the labels that the report will give, and each label's method name, in its order."""
    kinds = [Kind.of("grid", one.method.name, one.identity()) for one in planned]
    found: dict[str, dict[str | None, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for member, label in zip(planned, labels(kinds), strict=True):
        found[label][member.teacher.teacher_id if member.teacher else None][member.seed] = member.run_id
    names = {label: member.method.name for member, label in zip(planned, labels(kinds), strict=True)}
    order = sorted(names, key=lambda label: (set(found[label]) != {None}, label))
    return {label: found[label] for label in order}, {label: names[label] for label in order}


def _common_teachers(first: RunIds, second: RunIds) -> list[str | None]:
    """Those that both have; a method without a teacher fits every teacher."""
    if None in first or None in second:
        return list(second if None in first else first)
    return [teacher for teacher in first if teacher in second]


def _at(row: RunIds, teacher: str | None) -> Mapping[int, str]:
    return row[None] if None in row else row[teacher]


def _own_pair(study_dir: Path, first: RunIds, second: RunIds, teachers: Sequence[str | None]) -> PairModel | None:
    """The model of the rows that are there; None where the two share fewer than ENOUGH_SEEDS finished seeds."""
    rows = read_runs(study_dir).select(["run_id", "fid"]).to_pydict()
    fids = {run_id: np.nan if fid is None else fid for run_id, fid in zip(rows["run_id"], rows["fid"], strict=True)}
    cells = [[_at(row, teacher) for teacher in teachers] for row in (first, second)]
    done = [{seed for seed, run_id in cell.items() if run_id in fids} for row in cells for cell in row]
    seeds = sorted(set.intersection(*done))
    if len(seeds) < ENOUGH_SEEDS:
        return None
    a, b = (np.array([[fids[cell[seed]] for seed in seeds] for cell in row]) for row in cells)
    return fit_pair(a, b) if _differ(a) and _differ(b) else None


def _differ(fid: FloatArray) -> bool:
    known = fid[np.isfinite(fid)]
    return len(known) > 1 and float(np.ptp(known)) > 0


def _text(design: DesignPower) -> str:
    """The smallest effects that 80% of studies find; FID points where typical deviations are the study's own."""
    size, ratio = design.smallest_difference, design.smallest_ratio
    times = DIFFERENCES[-1] if size is None else size
    mean = "no difference of the means up to" if size is None else "a difference of the means of"
    points = f" (here {times * design.typical:.3g} FID points)" if design.source == OWN_ROWS else ""
    spread = f"no spread down to {RATIOS[-1]:g}" if ratio is None else f"a spread of {ratio:g}"
    return f"{mean} {times:g} typical deviations of a seed{points}, {spread} times the other's"

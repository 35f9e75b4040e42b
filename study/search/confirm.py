"""The confirm phase: the best settings of every arm, and the recipe's own, on seeds that no search saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from analysis.records.rows import read_runs
from analysis.statistics.sequential import decided
from study.config.study import StudyConfig
from study.config.tuning import TuningConfig
from study.planning.arms import Arm, settings_member, tuning_of
from study.search.outcomes import Outcomes
from study.search.rounds import ArmSearch, TeacherSearch
from trainables.specs import Member


def confirm_members(config: StudyConfig, search: ArmSearch) -> list[Member]:
    """The chosen settings of an arm whose search is done, on every confirm seed."""
    settings = search.best().settings
    return [settings_member(config, search.arm, settings, seed) for seed in tuning_of(config).confirm_seeds]


def recipe_members(config: StudyConfig, arm: Arm) -> list[Member]:
    """The recipe's settings of an arm on the same seeds: members of the study's grid, for comparison."""
    return [settings_member(config, arm, {}, seed) for seed in tuning_of(config).confirm_seeds]


def confirm_phases(config: StudyConfig, search: TeacherSearch, num_seeds: int) -> list[tuple[Member, str]]:
    """The members that a finished search is confirmed with on its first num_seeds confirm seeds, and their phases.

    None while the search is not done. An arm whose best settings are the recipe's has one set of members for both.
    """
    if not search.done:
        return []
    phases: dict[str, tuple[Member, str]] = {}
    for arm in search.searches:
        grid, confirm = recipe_members(config, arm.arm), confirm_members(config, arm)
        for members, phase in ((grid, "grid"), (confirm, "confirm")):
            phases |= {member.run_id: (member, phase) for member in members[:num_seeds]}
    return list(phases.values())


def num_confirm_seeds(config: StudyConfig, search: TeacherSearch, outcomes: Outcomes) -> int:
    """How many of the confirm seeds a finished search needs so far: all, or one more until the comparison is decided.

    With several teachers each has its part of alpha (Bonferroni), so the error holds over all of them.
    """
    tuning = tuning_of(config)
    rule, last = tuning.sequential_seeds, len(tuning.confirm_seeds)
    compared = [arm for arm in search.searches if rule and arm.arm.method in rule.compare]
    if rule is None or len(compared) < 2 or not search.done:
        return last
    a, b = (confirm_members(config, arm) for arm in compared)
    known = [one.run_id in outcomes and other.run_id in outcomes for one, other in zip(a, b, strict=True)]
    num = known.index(False) if False in known else last
    fids = [[outcomes[member.run_id].fid for member in members[:num]] for members in (a, b)]
    with np.errstate(invalid="ignore"):  # both diverged
        differences = np.subtract(*(np.array(one, dtype=np.float64) for one in fids))
    alpha = rule.alpha / max(1, len(tuning.teachers))
    found = decided(differences, first=rule.first, last=last, alpha=alpha)
    return found if found is not None else min(max(rule.first, num + 1), last)


def check_fresh(study_dir: Path, tuning: TuningConfig) -> None:
    """Raises ValueError where a confirm seed was searched with, or a search seed confirmed with, in these records."""
    runs = read_runs(study_dir)
    for key, phase, other in (
        ("confirm_seeds", "search", "searched with"),
        ("search_seeds", "confirm", "confirmed with"),
    ):
        used = set(runs.filter(pc.equal(runs.column("phase"), phase)).column("seed").to_pylist())
        taken = sorted(used & set(getattr(tuning, key)))
        if taken:
            raise ValueError(f"protocol.{key} must be fresh but seed {taken[0]} was {other} in {study_dir}")

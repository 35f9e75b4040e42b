"""The searches of a study: what each (teacher, method) was given, what it found, and whether they may be compared.

The sweep leaves a ledger an arm (searches/*.json: trials in order, their settings and run_ids). Every number here comes
from the rows that the ledger names; the budget is counted in them, not read from the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.records.cells import NO_TEACHER, Cell, FloatArray
from analysis.statistics.summary import mean, std


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: a FID a search seed, NaN where the member diverged. `score` is infinite where one did."""

    number: int
    settings: Mapping[str, Any]
    score: float
    fid: FloatArray
    device_seconds: float
    stopped: bool  # a member was stopped early


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The search of one method on one teacher, and what confirmed it.

    confirmed, recipe: FIDs of the chosen and of the recipe's settings by confirm seed (confirm_seeds, recipe_seeds),
    NaN where a member diverged; only those that have a row. recipe_searched: FIDs of the recipe's settings on the
    search seeds, empty where they were no trial.
    """

    protocol_id: str
    protocol: Mapping[str, Any]
    teacher: str
    teacher_id: str | None
    method: str
    space: Mapping[str, Any]
    trials: tuple[Trial, ...]
    chosen: Trial | None
    search_seeds: tuple[int, ...]  # of the rows
    steps: tuple[int, ...]  # the budget of a member, of the rows' members
    num_members: int
    confirm_seeds: tuple[int, ...]  # of the rows
    confirmed: FloatArray
    recipe_seeds: tuple[int, ...]
    recipe: FloatArray
    recipe_searched: FloatArray
    confirm_run_ids: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.method}, {self.teacher}"

    @property
    def device_seconds(self) -> float:
        return sum(trial.device_seconds for trial in self.trials)

    @property
    def recipe_shift(self) -> float:
        """Mean FID of the recipe on the confirm seeds minus that on the search seeds; NaN where it was not searched.

        Nothing selected the recipe, so this is what other seeds alone do.
        """
        return mean(self.recipe) - mean(self.recipe_searched)

    @property
    def winners_curse(self) -> float:
        """How much luck was in the win: the chosen settings' rise from search to fresh seeds, less the recipe's."""
        if self.chosen is None:
            return float("nan")
        return mean(self.confirmed) - mean(self.chosen.fid) - self.recipe_shift

    @property
    def gain(self) -> float:
        """Mean FID of the chosen settings minus that of the recipe, over the confirm seeds that both have."""
        chosen = dict(zip(self.confirm_seeds, self.confirmed.tolist(), strict=True))
        recipe = dict(zip(self.recipe_seeds, self.recipe.tolist(), strict=True))
        return mean(np.array([chosen[seed] - recipe[seed] for seed in sorted({*chosen} & {*recipe})]))


def read_arms(study_dir: Path, runs: pa.Table) -> list[Arm]:
    """The arms of a study, by protocol, teacher and method, from its ledgers and its rows `runs` (RUN_SCHEMA).

    Raises ValueError naming a ledger that cannot be read.
    """
    paths = sorted((study_dir / "searches").glob("*.json"))
    columns = ["run_id", "phase", "fid", "seed", "device_seconds", "member"]
    rows = {row["run_id"]: row for row in runs.select(columns).to_pylist()} if paths else {}
    return sorted((_arm(path, rows) for path in paths), key=lambda arm: (arm.protocol_id, arm.teacher, arm.method))


def unfair_cells(cells: Sequence[Cell], arms: Sequence[Arm]) -> dict[str, str]:
    """Why a confirm cell may not be compared, by the run_id of its first member; empty where all may be."""
    reasons = unequal(arms)
    found = {}
    for cell in (cell for cell in cells if cell.phase == "confirm"):
        searches = [arm for arm in arms if set(cell.run_ids) <= arm.confirm_run_ids]
        if not searches:
            found[cell.run_ids[0]] = f"{cell.method}, {cell.teacher_name}: no ledger of its search; run the sweep again"
        for arm in searches:
            if (arm.protocol_id, arm.teacher_id, arm.method) in reasons:
                found[cell.run_ids[0]] = reasons[arm.protocol_id, arm.teacher_id, arm.method]
    return found


def unequal(arms: Sequence[Arm]) -> dict[tuple[str, str | None, str], str]:
    """Why an arm may not be compared with its teacher's others, by (protocol_id, teacher_id, method).

    Arms may be compared when their rows show the same number of trials and members, the same search seeds and the same
    steps a member, and no seed of the search among those that confirm it.
    """
    reasons = {}
    for key in {(arm.protocol_id, arm.teacher_id) for arm in arms}:
        group = [arm for arm in arms if (arm.protocol_id, arm.teacher_id) == key]
        budgets = {arm.method: (len(arm.trials), arm.num_members, arm.search_seeds, arm.steps) for arm in group}
        for arm in group:
            leaked = set(arm.search_seeds) & set(arm.confirm_seeds)
            if leaked:
                reasons[*key, arm.method] = f"{arm.name}: seed {min(leaked)} was searched and confirmed with"
            elif len(set(budgets.values())) > 1:
                counts = ", ".join(f"{method} {budget[0]}" for method, budget in sorted(budgets.items()))
                reasons[*key, arm.method] = f"{arm.name}: unequal search budgets (trials: {counts})"
    return reasons


def best_so_far(arm: Arm) -> FloatArray:
    """(num_trials,) the lowest score up to each trial, by the budget that was spent."""
    return np.minimum.accumulate(np.array([trial.score for trial in arm.trials], dtype=np.float64))


def pareto_front(arm: Arm) -> list[Trial]:
    """The trials that no other beats in both the mean and the std of their FIDs, by ascending mean."""
    points = [(mean(trial.fid), std(trial.fid), trial) for trial in arm.trials if np.isfinite(trial.fid).all()]
    front = [
        (a, b, trial)
        for a, b, trial in points
        if np.isfinite(b) and not any(c <= a and d <= b and (c, d) != (a, b) for c, d, _ in points)
    ]
    return [trial for _, _, trial in sorted(front, key=lambda point: point[:2])]


def override_line(arm: Arm) -> str:
    """The chosen settings as overrides of `python -m study.sweep`, ready to paste; empty while nothing is chosen."""
    if arm.chosen is None:
        return ""
    settings = [("method", arm.method), *sorted(arm.chosen.settings.items())]
    own = ",".join(f"{key}:{value}" for key, value in settings if not key.startswith("train."))
    train = [f"{key}={value}" for key, value in settings if key.startswith("train.")]
    return " ".join([f"'methods=[{{{own}}}]'", *train])


def importance(arm: Arm) -> dict[str, float]:
    """How much each setting decides whether a trial is among the better ones: PED-ANOVA (Watanabe et al. 2023).

    Sums to 1, largest first; empty where there are too few trials with a score (fewer than 4) or nothing varies.
    """
    import warnings

    import optuna
    from optuna.distributions import json_to_distribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: json_to_distribution(entry[0]) for name, entry in arm.space.items()}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    finite = [trial for trial in arm.trials if np.isfinite(trial.score)]
    if len(finite) < 4:
        return {}
    for trial in finite:
        distributions = {name: space[name] for name in trial.settings}
        study.add_trial(
            optuna.create_trial(params=dict(trial.settings), distributions=distributions, value=trial.score)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator")
        return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def _arm(path: Path, rows: Mapping[str, Mapping[str, Any]]) -> Arm:
    try:
        ledger = json.loads(path.read_text())
        trials = [_trial(trial, rows) for trial in ledger["trials"]]
        confirmed = [rows[run_id] for run_id in ledger["confirm_run_ids"] if run_id in rows]
        recipe = [rows[run_id] for run_id in ledger["recipe_run_ids"] if run_id in rows]
        members = [rows[run_id] for trial in ledger["trials"] for run_id in trial["run_ids"] if run_id in rows]
        return Arm(
            protocol_id=ledger["protocol_id"],
            protocol=ledger["protocol"],
            teacher=ledger["teacher"] or NO_TEACHER,
            teacher_id=ledger["teacher_id"],
            method=ledger["method"],
            space=ledger["space"],
            trials=tuple(trial for trial in trials if len(trial.fid)),
            chosen=next((trial for trial in trials if trial.number == ledger["chosen"]), None),
            search_seeds=tuple(sorted({row["seed"] for row in members})),
            steps=tuple(sorted({json.loads(row["member"])["train"]["steps"] for row in members})),
            num_members=len(members),
            confirm_seeds=tuple(row["seed"] for row in confirmed),
            confirmed=_fids(confirmed),
            recipe_seeds=tuple(row["seed"] for row in recipe),
            recipe=_fids(recipe),
            recipe_searched=_recipe_searched(trials, recipe, rows, ledger),
            confirm_run_ids=frozenset(row["run_id"] for row in confirmed),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no ledger of a search ({error!r}); run the sweep again to write it anew"
        ) from error


def _recipe_searched(
    trials: Sequence[Trial], recipe: Sequence[Mapping[str, Any]], rows: Mapping[str, Any], ledger: Mapping[str, Any]
) -> FloatArray:
    """The FIDs of the first trial whose members differ from the recipe's in their seed (and early stopping) alone."""
    wanted = {_settings(row) for row in recipe}
    for trial, entry in zip(trials, ledger["trials"], strict=True):
        found = {_settings(rows[run_id]) for run_id in entry["run_ids"] if run_id in rows}
        if found and found == wanted:
            return trial.fid
    return np.empty(0)


def _settings(row: Mapping[str, Any]) -> str:
    member = json.loads(row["member"])
    return json.dumps({key: value for key, value in member.items() if key not in ("seed", "rungs")}, sort_keys=True)


def _trial(trial: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> Trial:
    found = [rows[run_id] for run_id in trial["run_ids"] if run_id in rows]
    return Trial(
        number=trial["number"],
        settings=trial["settings"],
        score=float("inf") if trial["score"] is None else trial["score"],
        fid=_fids(found),
        device_seconds=sum(row["device_seconds"] or 0.0 for row in found),
        stopped=trial["stopped"],
    )


def _fids(rows: Sequence[Mapping[str, Any]]) -> FloatArray:
    return np.array([np.nan if row["fid"] is None else row["fid"] for row in rows], dtype=np.float64)

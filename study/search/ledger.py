"""What a search leaves for people: a ledger an arm for the report, and a journal that optuna-dashboard opens.

Both are outputs: they are made again from the records whenever the sweep runs, and nothing is read back from them.
    searches/<teacher>-<method>-<protocol>.json    the trials, their settings and run_ids, and the chosen one
    searches/optuna-<protocol>.journal             optuna-dashboard searches/optuna-<protocol>.journal
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search_spaces import describe
from storage import new_file
from study.config.study import StudyConfig
from study.planning.arms import tuning_of
from study.search.confirm import confirm_members, recipe_members
from study.search.rounds import ArmSearch, FinishedTrial, TeacherSearch
from trainables.specs import content_id

VERSION = 1


def write_ledgers(config: StudyConfig, searches: Sequence[TeacherSearch]) -> None:
    """Writes the ledger of every arm and the journal of all, each whole or not at all, where something is new."""
    folder = config.study_dir / "searches"
    tag = protocol_id(config)[:8]
    changed = [_write_if_new(folder / f"{arm.arm.name}-{tag}.json", ledger(config, arm)) for arm in _arms(searches)]
    journal = folder / f"optuna-{tag}.journal"
    if any(changed) or not journal.exists():
        _write_journal(journal, searches)


def protocol_id(config: StudyConfig) -> str:
    """Follows from all that the scores of two arms must share to be compared, and from nothing else."""
    tuning = tuning_of(config)
    same = ("trials_per_round", "search_seeds", "score", "std_weight", "sampler", "sampler_seed", "startup_trials")
    return content_id(
        {
            **{key: getattr(tuning, key) for key in (*same, "recipe_first")},
            "early_stopping": _early_stopping(config),
            "data": config.data.identity(),
            "student": config.student.identity(),
            "recipe": dict(config.recipe),
            "train": config.train.identity(),
            "evaluation": config.evaluation.identity(),
        }
    )


def ledger(config: StudyConfig, search: ArmSearch) -> dict[str, Any]:
    """The search of one arm as JSON values; numbers that are infinite or unknown are null."""
    tuning, arm = tuning_of(config), search.arm
    same = ("name", "num_trials", "trials_per_round", "search_seeds", "confirm_seeds", "score", "std_weight")
    chosen = search.best().number if search.done else None
    return {
        "version": VERSION,
        "protocol_id": protocol_id(config),
        "protocol": {
            **{key: getattr(tuning, key) for key in (*same, "sampler", "sampler_seed", "startup_trials")},
            "steps": config.train.steps,
            "early_stopping": _early_stopping(config),
            "sequential_seeds": None if tuning.sequential_seeds is None else vars(tuning.sequential_seeds),
        },
        "teacher": arm.teacher.name if arm.teacher else None,
        "teacher_id": arm.teacher_id or None,
        "method": arm.method,
        "space": describe(arm.space),
        "trials": [_trial(trial) for trial in search.finished],
        "chosen": chosen,
        "confirm_run_ids": [member.run_id for member in confirm_members(config, search)] if search.done else [],
        "recipe_run_ids": [member.run_id for member in recipe_members(config, arm)],
    }


def _trial(trial: FinishedTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "settings": dict(trial.settings),
        "run_ids": [member.run_id for member in trial.members],
        "objectives": [_finite(value) for value in trial.objectives],
        "score": _finite(trial.score),
        "stopped": trial.stopped,
    }


def _early_stopping(config: StudyConfig) -> Any:
    early_stopping = tuning_of(config).early_stopping
    return None if early_stopping is None else vars(early_stopping)


def _write_if_new(path: Path, content: dict[str, Any]) -> bool:
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    if path.exists() and path.read_text() == text:
        return False
    with new_file(path) as file:
        file.write(text.encode())
    return True


def _write_journal(path: Path, searches: Sequence[TeacherSearch]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # Optuna locks and appends, which an object store cannot
        local = Path(folder, path.name)
        storage = JournalStorage(JournalFileBackend(str(local)))
        for search in _arms(searches):
            source = search.optuna.study
            study = optuna.create_study(storage=storage, study_name=search.arm.name, directions=source.directions)
            ended = [trial for trial in source.trials if trial.state in (TrialState.COMPLETE, TrialState.FAIL)]
            study.add_trials(ended)
        with new_file(path) as file:
            file.write(local.read_bytes())


def _arms(searches: Sequence[TeacherSearch]) -> list[ArmSearch]:
    return [arm for search in searches for arm in search.searches]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

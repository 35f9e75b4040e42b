"""The search of protocol=search and tuned: one Optuna study for every arm, advanced in rounds from the records.

In a round every arm asks for the same number of trials, each trial trains once with every search seed, and when all
members of the round have rows the scores are told in the order of the trials. So the suggestions follow from the
config and the records alone, not from timing or the number of workers, and a search is resumed by replaying it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from search_spaces.optuna_study import MethodStudy, Suggestion
from study.config.study import StudyConfig
from study.config.tuning import EarlyStopping
from study.planning.arms import Arm, arms, recipe_settings, settings_member, tuning_of
from study.search.outcomes import Outcome, Outcomes, objectives, scalar_score
from trainables.seeds import derived_seed
from trainables.specs import Member, Rung


@dataclass(frozen=True)
class FinishedTrial:
    """A trial whose members all have rows. `objectives`, `score`: study.search.scores; lower is better."""

    number: int
    settings: Mapping[str, Any]
    members: tuple[Member, ...]  # by search seed
    outcomes: tuple[Outcome, ...]
    objectives: tuple[float, ...]
    score: float

    @property
    def stopped(self) -> bool:
        """Whether a member was stopped early: such a trial is never chosen while another finished."""
        return any(
            outcome.steps < member.train.steps for member, outcome in zip(self.members, self.outcomes, strict=True)
        )


class ArmSearch:
    """The search of one arm."""

    def __init__(self, config: StudyConfig, arm: Arm) -> None:
        tuning = tuning_of(config)
        self.arm, self.finished = arm, list[FinishedTrial]()
        self._config, self._tuning = config, tuning
        self.optuna = MethodStudy(
            arm.space,
            sampler=tuning.sampler,
            seed=derived_seed(tuning.sampler_seed, arm.teacher_id, arm.method) % 2**32,
            startup=tuning.startup_trials,
            num_objectives=2 if tuning.score == "pareto" else 1,
            first=recipe_settings(config, arm) if tuning.recipe_first else None,
            key=lambda settings: settings_member(config, arm, settings, tuning.search_seeds[0]).train_id,
        )
        self._round: list[tuple[Suggestion, tuple[Member, ...]]] = []

    @property
    def done(self) -> bool:
        return len(self.finished) == self._tuning.num_trials

    def members(self) -> list[Member]:
        """The members of the round that is open, opened now where none is; none when the budget is spent."""
        if not self._round and not self.done:
            num = min(self._tuning.trials_per_round, self._tuning.num_trials - len(self.finished))
            rungs = [self._rungs(index) for index in range(len(self._tuning.search_seeds))]
            self._round = [(suggestion, self._train(suggestion, rungs)) for suggestion in self.optuna.ask(num)]
        return [member for _, members in self._round for member in members]

    def close_round(self, outcomes: Outcomes) -> None:
        """Tells the scores of the open round, whose members all have outcomes, in the order of its trials."""
        for suggestion, members in self._round:
            trial = self._finish(suggestion, members, outcomes)
            attributes = {
                "fids": [outcome.fid for outcome in trial.outcomes],
                "seeds": list(self._tuning.search_seeds),
                "run_ids": [member.run_id for member in members],
                "score": trial.score,
            }
            self.optuna.tell(suggestion, trial.objectives, attributes)
            self.finished.append(trial)
        self._round = []

    def best(self) -> FinishedTrial:
        """The finished trial with the lowest score; the earlier of two equal ones."""
        return min(self.finished, key=lambda trial: (trial.stopped, trial.score, trial.number))

    def _train(self, suggestion: Suggestion, rungs: Sequence[tuple[Rung, ...]]) -> tuple[Member, ...]:
        return tuple(
            replace(settings_member(self._config, self.arm, suggestion.settings, seed), rungs=rungs[index])
            for index, seed in enumerate(self._tuning.search_seeds)
        )

    def _rungs(self, seed_index: int) -> tuple[Rung, ...]:
        """The rungs of the open round: thresholds from the members of the rounds before it with the same seed."""
        early_stopping = self._tuning.early_stopping
        if early_stopping is None:
            return ()
        earlier = [trial.outcomes[seed_index] for trial in self.finished]
        known = earlier if len(earlier) >= self._tuning.startup_trials else []
        return make_rungs(early_stopping, [outcome.rung_fids for outcome in known])

    def _finish(self, suggestion: Suggestion, members: tuple[Member, ...], outcomes: Outcomes) -> FinishedTrial:
        found = tuple(outcomes[member.run_id] for member in members)
        fids = [outcome.fid for outcome in found]
        return FinishedTrial(
            suggestion.number,
            suggestion.settings,
            members,
            found,
            objectives(fids, self._tuning.score, self._tuning.std_weight),
            scalar_score(fids, self._tuning.score, self._tuning.std_weight),
        )


class TeacherSearch:
    """The searches of all arms of one teacher, advanced together, so that they share packs."""

    def __init__(self, searches: Sequence[ArmSearch]) -> None:
        self.searches = tuple(searches)

    @property
    def done(self) -> bool:
        return all(search.done for search in self.searches)

    def advance(self, outcomes: Outcomes) -> list[Member]:
        """All members of the first round that these outcomes do not finish; none when every round is finished.

        Rounds that are finished are told on the way.
        """
        while not self.done:
            members = [member for search in self.searches for member in search.members()]
            if any(member.run_id not in outcomes for member in members):
                return members
            for search in self.searches:
                search.close_round(outcomes)
        return []


def make_searches(config: StudyConfig) -> list[TeacherSearch]:
    """The searches of a study, by teacher, at their beginning.

    Raises ValueError where the recipe's settings are outside a space that must begin with them.
    """
    by_teacher = groupby(sorted(arms(config), key=lambda arm: arm.teacher_id), key=lambda arm: arm.teacher_id)
    return [TeacherSearch([ArmSearch(config, arm) for arm in group]) for _, group in by_teacher]


def make_rungs(early_stopping: EarlyStopping, earlier: Sequence[Mapping[int, float]]) -> tuple[Rung, ...]:
    """The rungs of a member; earlier: rung FIDs of the members that it is held against, by steps.

    median: a member must not be above the median of the earlier ones at the same rung (the median stopping rule of
    Golovin et al. 2017, at one step instead of the running average). asha: it must be among the best `keep` of them
    (Li et al. 2020, with all earlier members known). A member that never got to a rung counts as infinitely bad there.
    """
    return tuple(
        Rung(
            step=step,
            num_images=early_stopping.num_images,
            threshold=_threshold(early_stopping, [fids.get(step, math.inf) for fids in earlier]),
        )
        for step in early_stopping.steps
    )


def _threshold(early_stopping: EarlyStopping, fids: Sequence[float]) -> float | None:
    if not fids:
        return None
    ordered = np.sort(np.array(fids, dtype=np.float64))
    if early_stopping.rule == "median":
        threshold = float(np.median(ordered))
    else:
        threshold = float(ordered[math.ceil(early_stopping.keep * len(ordered)) - 1])
    return threshold if math.isfinite(threshold) else None

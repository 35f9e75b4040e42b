"""One Optuna study: the settings of one method on one teacher. Knows nothing of members, packs and Ray."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from search_spaces.samplers import make_sampler
from search_spaces.space import Space, suggest

_ASKS_OF_THE_SAMPLER = 5  # before a setting that is new is drawn at random
_ASKS_AT_RANDOM = 2000


@dataclass(frozen=True)
class Suggestion:
    """The settings of one trial, and Optuna's trial behind them."""

    number: int  # among the trials of the budget, from 0
    settings: Mapping[str, Any]
    trial: optuna.Trial


class MethodStudy:
    """Asks for settings and is told their objectives, always in the order of the trials.

    Its suggestions follow from the space, the sampler and its seed, the rounds, and what was told: replayed with the
    same rounds and objectives it suggests the same. Nothing is suggested twice: a suggestion that would train what
    another trial trains is told to Optuna as failed, does not count against the budget, and is asked for again.
    """

    def __init__(
        self,
        space: Space,
        *,
        sampler: str,
        seed: int,
        startup: int,
        num_objectives: int = 1,
        first: Mapping[str, Any] | None = None,
        key: Callable[[Mapping[str, Any]], str] = lambda settings: repr(sorted(settings.items())),
    ) -> None:
        """first: settings of the first trial. key: what a setting trains; equal keys are the same trial."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._key, self._random = space, key, RandomSampler(seed=seed)
        self.study = optuna.create_study(
            directions=["minimize"] * num_objectives, sampler=make_sampler(sampler, seed=seed, startup=startup)
        )
        self._seen: set[str] = set()
        if first is not None:
            self.study.enqueue_trial(dict(first))

    def ask(self, num: int) -> list[Suggestion]:
        """The next `num` suggestions. Raises ValueError when the space seems to hold no other settings."""
        return [self._ask() for _ in range(num)]

    def tell(self, suggestion: Suggestion, objectives: Sequence[float], attributes: Mapping[str, Any]) -> None:
        """The objectives of a suggestion (infinite: it failed for every practical purpose, and counts so)."""
        for name, value in attributes.items():
            suggestion.trial.set_user_attr(name, value)
        self.study.tell(suggestion.trial, list(objectives))

    def _ask(self) -> Suggestion:
        learned = self.study.sampler
        for attempt in range(_ASKS_OF_THE_SAMPLER + _ASKS_AT_RANDOM):
            self.study.sampler = learned if attempt < _ASKS_OF_THE_SAMPLER else self._random
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                warnings.filterwarnings("ignore", message="Clip non-finite values")  # of members that diverged
                trial = self.study.ask()
                settings = suggest(trial, self._space)
            key = self._key(settings)
            if key not in self._seen:
                self.study.sampler = learned
                self._seen.add(key)
                return Suggestion(len(self._seen) - 1, settings, trial)
            self.study.tell(trial, state=TrialState.FAIL)
        self.study.sampler = learned
        raise ValueError(
            f"protocol.num_trials must be at most what the search space {self._space.name} holds;"
            f" {len(self._seen)} trials are all that differ"
        )

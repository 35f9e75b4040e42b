"""What Tune asks for its next trial: packs, from the plan or from the rounds of a search."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ray.tune.search import Searcher

from study.plan import Pack
from study.trial import Trial


class PackSource(Protocol):
    """Where packs come from, and where it is told that one has ended."""

    def next_packs(self) -> Sequence[Pack]:
        """The packs that one worker group runs next, in this order; empty when there are none now."""

    @property
    def exhausted(self) -> bool:
        """Whether there will be none any more, whatever the packs that still run bring."""

    def ended(self, packs: Sequence[Pack]) -> None:
        """The packs' trial is over; what they brought is in the records."""


class PlannedPacks:
    """The shares of a plan, in order."""

    def __init__(self, shares: Sequence[Sequence[Pack]]) -> None:
        self._left = list(shares)

    def next_packs(self) -> Sequence[Pack]:
        return self._left.pop(0) if self._left else []

    @property
    def exhausted(self) -> bool:
        return not self._left

    def ended(self, packs: Sequence[Pack]) -> None:
        pass


class PackSearcher(Searcher):  # type: ignore[misc]
    """Suggests {"trial": Trial} of the packs of its source; waits while a search's round is unfinished."""

    def __init__(self, source: PackSource, make_trial: Callable[[Sequence[Pack]], Trial]) -> None:
        super().__init__(metric=None, mode=None)
        self._source, self._make_trial = source, make_trial
        self._running: dict[str, Sequence[Pack]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        packs = self._source.next_packs()
        if not packs:
            return str(Searcher.FINISHED) if self._source.exhausted else None
        self._running[trial_id] = packs
        return {"trial": self._make_trial(packs)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._source.ended(self._running.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the records hold what is known, and Tune's own history is never resumed."""

    def restore(self, checkpoint_path: str) -> None:
        """See save."""

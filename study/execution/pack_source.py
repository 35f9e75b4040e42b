"""What Tune asks for its next trial: packs, from the plan or from the rounds of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ray.tune.search import Searcher

from study.execution.launch import Trial
from study.planning.members import Pack

Ready = Callable[[Pack], bool]  # whether what a pack starts from exists: its teacher, and the initial student


class PackSource(Protocol):
    """Where packs come from; it is told when one has ended."""

    def next_packs(self, ready: Ready) -> Sequence[Pack]:
        """The packs that one worker group runs next, in this order, all of them ready; empty when none are now."""

    @property
    def waiting(self) -> Sequence[Pack]:
        """Packs that will come, as far as they are known."""

    @property
    def exhausted(self) -> bool:
        """Whether no more will come, whatever the packs that still run bring."""

    def ended(self, packs: Sequence[Pack]) -> None:
        """The packs' trial is over; what they brought is in the records."""


class Prerequisites(Protocol):
    """Teachers and the initial student, made in tasks beside the packs."""

    @property
    def num_running(self) -> int:
        """How many worker groups' places they take."""

    @property
    def failed(self) -> bool:
        """Whether one of them will never exist."""

    def ready(self, pack: Pack) -> bool:
        """Whether the pack need not wait."""


class PlannedPacks:
    """The shares of a plan, in order; a share that is not ready waits, and those after it take the free places."""

    def __init__(self, shares: Sequence[Sequence[Pack]]) -> None:
        self._left = list(shares)

    def next_packs(self, ready: Ready) -> Sequence[Pack]:
        for share in self._left:
            if all(map(ready, share)):
                self._left.remove(share)
                return share
        return []

    @property
    def waiting(self) -> Sequence[Pack]:
        return [pack for share in list(self._left) for pack in share]

    @property
    def exhausted(self) -> bool:
        return not self._left

    def ended(self, packs: Sequence[Pack]) -> None:
        """A plan does not change with what has ended."""


class WithinBudget:
    """The packs of another source for as long as the budget lasts; what has begun comes to its end."""

    def __init__(self, source: PackSource, spent: Callable[[], float], budget: float) -> None:
        """spent(): device-hours in the records, read before a worker group is begun and after one has ended."""
        self._source, self._spent, self._budget = source, spent, budget
        self.over = spent() >= budget

    def next_packs(self, ready: Ready) -> Sequence[Pack]:
        return [] if self.over else self._source.next_packs(ready)

    @property
    def waiting(self) -> Sequence[Pack]:
        return self._source.waiting

    @property
    def exhausted(self) -> bool:
        return self.over or self._source.exhausted

    def ended(self, packs: Sequence[Pack]) -> None:
        self._source.ended(packs)
        self.over = self._spent() >= self._budget


class PackSearcher(Searcher):  # type: ignore[misc]
    """Suggests {"trial": Trial} of the packs of its source, where the cluster has a free place.

    Suggests nothing while the packs that are left are not ready or a search's round is unfinished, and ends when the
    source is exhausted or a prerequisite has failed.
    """

    def __init__(
        self,
        source: PackSource,
        make_trial: Callable[[Sequence[Pack]], Trial],
        num_slots: Callable[[], int],
        needed: Prerequisites | None = None,
    ) -> None:
        """num_slots(): how many worker groups the cluster holds now; nodes may join and leave."""
        super().__init__(metric=None, mode=None)
        self._source, self._make_trial, self._num_slots, self._needed = source, make_trial, num_slots, needed
        self._running: dict[str, Sequence[Pack]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        needed = self._needed
        if self._source.exhausted or (needed is not None and needed.failed):
            return str(Searcher.FINISHED)
        num_running = len(self._running) + (needed.num_running if needed else 0)
        if num_running >= self._num_slots():
            return None
        packs = self._source.next_packs(needed.ready if needed else lambda _pack: True)
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

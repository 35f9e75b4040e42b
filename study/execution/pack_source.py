"""What Tune asks for its next trial: packs, from the plan or from the rounds of a search."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ray.tune.search import Searcher

from study.execution.launch import Trial
from study.planning.members import Pack


class PackSource(Protocol):
    """Where packs come from, and where it is told that one has ended."""

    def next_packs(self) -> Sequence[Pack]:
        """The packs that one worker group runs next, in this order; empty when there are none now."""

    @property
    def waiting(self) -> Sequence[Pack]:
        """Packs that will come, as far as they are known."""

    @property
    def exhausted(self) -> bool:
        """Whether there will be none any more, whatever the packs that still run bring."""

    def ended(self, packs: Sequence[Pack]) -> None:
        """The packs' trial is over; what they brought is in the records."""


class TeachersInTheMaking(Protocol):
    """Teachers that are made beside the packs."""

    @property
    def num_running(self) -> int:
        """How many worker groups' places they take."""

    @property
    def failed(self) -> bool:
        """Whether one of them will never be there."""

    def are_there_for(self, pack: Pack) -> bool:
        """Whether the pack need not wait."""


class PlannedPacks:
    """The shares of a plan, in order; those whose teachers are not there wait, and the others take the free places.

    When a teacher fails, nothing more is begun.
    """

    def __init__(
        self,
        shares: Sequence[Sequence[Pack]],
        num_slots: Callable[[], int] = lambda: 1,
        teachers: TeachersInTheMaking | None = None,
    ) -> None:
        self._left, self._num_slots, self._teachers = list(shares), num_slots, teachers
        self._num_running = 0

    def next_packs(self) -> Sequence[Pack]:
        for share in self._left:
            if self._may_begin(share):
                self._left.remove(share)
                self._num_running += 1
                return share
        return []

    @property
    def waiting(self) -> Sequence[Pack]:
        return [pack for share in list(self._left) for pack in share]

    @property
    def exhausted(self) -> bool:
        return not self._left or (self._teachers is not None and self._teachers.failed)

    def ended(self, packs: Sequence[Pack]) -> None:
        self._num_running -= 1

    def _may_begin(self, share: Sequence[Pack]) -> bool:
        teachers = self._teachers
        if teachers is None:
            return True
        is_free = self._num_running + teachers.num_running < self._num_slots()
        return is_free and not teachers.failed and all(map(teachers.are_there_for, share))


class WithinBudget:
    """The packs of another source for as long as the budget lasts; what has begun comes to its end."""

    def __init__(self, source: PackSource, spent: Callable[[], float], budget: float) -> None:
        """spent(): device-hours in the records, looked at before a worker group is begun and after one has ended."""
        self._source, self._spent, self._budget = source, spent, budget
        self.over = spent() >= budget

    def next_packs(self) -> Sequence[Pack]:
        return [] if self.over else self._source.next_packs()

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
    """Suggests {"trial": Trial} of the packs of its source; waits while a search's round is unfinished."""

    def __init__(
        self, source: PackSource, make_trial: Callable[[Sequence[Pack]], Trial], num_slots: Callable[[], int]
    ) -> None:
        """num_slots(): how many worker groups the cluster holds now; nodes may join and leave."""
        super().__init__(metric=None, mode=None)
        self._source, self._make_trial, self._num_slots = source, make_trial, num_slots
        self._running: dict[str, Sequence[Pack]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        packs = self._source.next_packs() if len(self._running) < self._num_slots() else []
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

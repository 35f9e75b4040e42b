"""What Tune asks for its next trial: a pack, from the plan or from the rounds of a search."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ray.tune.search import Searcher

from study.plan import Pack
from study.trial import Trial


class PackSource(Protocol):
    """Where packs come from, and where it is told that one has ended."""

    def next_pack(self) -> Pack | None:
        """The next pack to run; None when there is none now."""

    @property
    def exhausted(self) -> bool:
        """Whether there will be none any more, whatever the packs that still run bring."""

    def ended(self, pack: Pack) -> None:
        """The pack's trial is over; what it brought is in the records."""


class PlannedPacks:
    """The packs of a plan, in order."""

    def __init__(self, packs: Sequence[Pack]) -> None:
        self._left = list(packs)

    def next_pack(self) -> Pack | None:
        return self._left.pop(0) if self._left else None

    @property
    def exhausted(self) -> bool:
        return not self._left

    def ended(self, pack: Pack) -> None:
        pass


class PackSearcher(Searcher):  # type: ignore[misc]
    """Suggests {"trial": Trial}, one for every pack of its source; waits while a search's round is unfinished."""

    def __init__(self, source: PackSource, make_trial: Callable[[Pack], Trial]) -> None:
        super().__init__(metric=None, mode=None)
        self._source, self._make_trial = source, make_trial
        self._running: dict[str, Pack] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        pack = self._source.next_pack()
        if pack is None:
            return str(Searcher.FINISHED) if self._source.exhausted else None
        self._running[trial_id] = pack
        return {"trial": self._make_trial(pack)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._source.ended(self._running.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the records hold what is known, and Tune's own history is never resumed."""

    def restore(self, checkpoint_path: str) -> None:
        """See save."""

"""Many Optuna members per Tune trial: Tune asks for a trial, and gets a pack."""

from typing import Any, Protocol

from ray.tune.search import Searcher

from study.plan import Pack
from trainables.specs import Member


class Asker(Protocol):
    """Where members come from and where what became of them goes."""

    def ask(self) -> Member: ...

    def tell(self, pack: Pack) -> None: ...


class PackSearcher(Searcher):  # type: ignore[misc]
    """Suggests {"pack": Pack} until the budget of members is spent."""

    def __init__(self, asker: Asker, *, num_members: int, pack_size: int) -> None:
        super().__init__(metric=None, mode=None)
        self._asker, self._left, self._pack_size = asker, num_members, pack_size
        self._pending: dict[str, Pack] = {}

    @property
    def num_packs(self) -> int:
        """How many trials the budget makes."""
        return -(-self._left // self._pack_size)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self._left <= 0:
            return str(Searcher.FINISHED)
        size = min(self._left, self._pack_size)
        self._left -= size
        self._pending[trial_id] = Pack(tuple(self._asker.ask() for _ in range(size)))
        return {"pack": self._pending[trial_id]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._asker.tell(self._pending.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the records hold what is known, and Tune's own history is never resumed."""

    def restore(self, checkpoint_path: str) -> None:
        """See save."""

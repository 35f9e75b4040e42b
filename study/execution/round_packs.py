"""Search rounds as a source of packs for Tune."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.execution.pack_source import Ready
from study.planning.members import Pack, plan_packs, unfinished
from study.search.outcomes import Outcomes
from study.search.rounds import TeacherSearch

_MIN_MEMBERS = 3  # of a pack that is made smaller to keep idle worker groups busy


class RoundPacks:
    """The packs of the searches' open rounds. A teacher's next round opens when its last one has all its rows."""

    def __init__(
        self,
        searches: Sequence[TeacherSearch],
        read: Callable[[], Outcomes],
        *,
        max_members: int | None,
        num_slots: int,
        advanced: Callable[[], None] = lambda: None,
    ) -> None:
        """read: the outcomes there are now. advanced: called after rounds were told."""
        self._searches, self._read, self._advanced = tuple(searches), read, advanced
        self._max_members, self._num_slots = max_members, -(-num_slots // max(1, len(searches)))
        self._waiting: dict[int, set[str]] = {}  # members of the open round without row, by search
        self._left: list[tuple[int, Pack]] = []
        self._search_of: dict[str, int] = {}  # by pack_id
        self._failed = False
        for index in range(len(self._searches)):
            self._open(index)

    def next_packs(self, ready: Ready) -> Sequence[Pack]:
        for index, pack in () if self._failed else self._left:
            if ready(pack):
                self._left.remove((index, pack))
                self._search_of[pack.pack_id] = index
                return [pack]
        return []

    @property
    def waiting(self) -> Sequence[Pack]:
        return [pack for _, pack in list(self._left)]

    @property
    def exhausted(self) -> bool:
        return self._failed or not self._waiting

    def ended(self, packs: Sequence[Pack]) -> None:
        """Opens the next round when this was the last pack of its own; a pack without rows ends the search."""
        (pack,), outcomes = packs, self._read()
        index = self._search_of.pop(pack.pack_id)
        if any(member.run_id not in outcomes for member in pack.members):
            self._failed = True
            return
        self._waiting[index] -= {member.run_id for member in pack.members}
        if not self._waiting[index]:
            self._open(index)

    def _open(self, index: int) -> None:
        outcomes = self._read()
        members = self._searches[index].advance(outcomes)
        self._advanced()
        left = unfinished(plan_packs(members, self._pack_size(len(members))), outcomes)
        self._waiting.pop(index, None)
        if left:
            self._waiting[index] = {member.run_id for pack in left for member in pack.members}
            self._left += [(index, pack) for pack in left]

    def _pack_size(self, num_members: int) -> int:
        """Large enough for no more packs than slots and no very small pack, but at most max_members."""
        size = max(_MIN_MEMBERS, -(-num_members // self._num_slots))
        return size if self._max_members is None else min(size, self._max_members)

"""Which worker group trains which packs: shares of the plan, so that all groups end together and few are started."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from study.costs.model import GROUP_START_SECONDS, Costs
from study.planning.members import Pack
from trainables.specs import TeacherSpec

_GROUP_SECONDS = 600.0  # of work for one worker group: its start is 2% of it; between two the cluster may change


def waves(packs: Sequence[Pack], first: Sequence[str]) -> list[list[Pack]]:
    """The packs of each of the teachers that are named, in this order, and then all others; none is empty."""
    names = [pack.members[0].teacher.name if pack.members[0].teacher else None for pack in packs]
    found = [[pack for pack, name in zip(packs, names, strict=True) if name == one] for one in first]
    found.append([pack for pack, name in zip(packs, names, strict=True) if name not in first])
    return [wave for wave in found if wave]


def schedule(packs: Sequence[Pack], missing: Sequence[TeacherSpec], num_slots: int, costs: Costs) -> list[list[Pack]]:
    """The packs of every worker group, in the order in which groups begin; `missing` are made meanwhile, first to last.

    Packs whose teacher takes longest to make come last. Of a few ways to share the packs out it is the one that ends
    first: a teacher in training keeps one slot busy, which the other groups need not wait for.
    """
    slots = _Slots.after(missing, num_slots, costs)
    last = max(missing, key=costs.teacher_seconds).teacher_id if missing else None
    early = [pack for pack in packs if last is None or _teacher_id(pack) != last]
    late = [pack for pack in packs if last is not None and _teacher_id(pack) == last]
    ways = [
        [share for wave, number in zip((early, late), numbers, strict=True) for share in _shares(wave, number, costs)]
        for numbers in product(*(_numbers(wave, num_slots, costs) for wave in (early, late)))
    ]
    return min(ways, key=lambda way: slots.end(way, costs))


def _shares(packs: Sequence[Pack], number: int, costs: Costs) -> list[list[Pack]]:
    return share_out(packs, number, costs.seconds)


def _numbers(packs: Sequence[Pack], num_slots: int, costs: Costs) -> list[int]:
    """How many shares to try: for all slots of the cluster, or all but one."""
    most = num_slots * math.ceil(sum(map(costs.seconds, packs)) / num_slots / _GROUP_SECONDS)
    return [most, most - 1] if most > 1 else [most]


@dataclass(frozen=True)
class _Slots:
    """When each slot for a worker group is free and each teacher is made, in seconds from now."""

    free: tuple[float, ...]
    made: Mapping[str, float]

    @classmethod
    def after(cls, missing: Sequence[TeacherSpec], num_slots: int, costs: Costs) -> _Slots:
        free, made = [0.0] * num_slots, {}
        for spec in missing:
            made[spec.teacher_id] = heapq.heappop(free) + costs.teacher_seconds(spec)
            heapq.heappush(free, made[spec.teacher_id])
        return cls(tuple(free), made)

    def end(self, way: Sequence[Sequence[Pack]], costs: Costs) -> float:
        """When the last group ends: one begins where a slot is free and its teachers exist (PlannedPacks)."""
        free, ends = list(self.free), [0.0]
        heapq.heapify(free)
        for share in way:
            there = max(self.made.get(_teacher_id(pack), 0.0) for pack in share)
            ends.append(max(heapq.heappop(free), there) + GROUP_START_SECONDS + sum(map(costs.seconds, share)))
            heapq.heappush(free, ends[-1])
        return max(ends)


def _teacher_id(pack: Pack) -> str:
    return pack.teacher.teacher_id if pack.teacher else ""


def share_out(packs: Sequence[Pack], num_shares: int, seconds: Callable[[Pack], float]) -> list[list[Pack]]:
    """The packs in at most num_shares lists that take about equally long: the longest pack to the shortest list."""
    result: list[list[Pack]] = [[] for _ in range(min(num_shares, len(packs)))]
    taken = [0.0] * len(result)
    for cost, pack in sorted(((seconds(pack), pack) for pack in packs), key=lambda costed: -costed[0]):
        shortest = taken.index(min(taken))
        result[shortest].append(pack)
        taken[shortest] += cost
    return result

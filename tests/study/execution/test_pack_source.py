"""How many worker groups begin, and when no more do."""

from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from study.execution.pack_source import PackSearcher, PlannedPacks, WithinBudget


def searcher(source: Any, num_slots: list[int]) -> PackSearcher:
    return PackSearcher(source, lambda packs: packs, lambda: num_slots[0])  # type: ignore[arg-type, return-value]


def shares(number: int) -> list[Sequence[Any]]:
    return [[f"pack {index}"] for index in range(number)]


def test_as_many_begin_as_the_cluster_holds_now() -> None:
    num_slots = [1]
    asked = searcher(PlannedPacks(shares(4)), num_slots)
    assert asked.suggest("a") == {"trial": ["pack 0"]}
    assert asked.suggest("b") is None
    num_slots[0] = 3  # nodes have joined
    assert asked.suggest("b") == {"trial": ["pack 1"]}
    assert asked.suggest("c") == {"trial": ["pack 2"]}
    num_slots[0] = 2  # and one has left
    asked.on_trial_complete("a")
    assert asked.suggest("d") is None
    asked.on_trial_complete("b")
    assert asked.suggest("d") == {"trial": ["pack 3"]}
    assert asked.suggest("e") == Searcher.FINISHED


def test_nothing_begins_when_the_budget_is_spent() -> None:
    spent = [0.0]
    source = WithinBudget(PlannedPacks(shares(3)), lambda: spent[0], 1.0)
    asked = searcher(source, [2])
    assert asked.suggest("a") is not None
    assert asked.suggest("b") is not None
    spent[0] = 1.5
    asked.on_trial_complete("a")
    assert asked.suggest("c") == Searcher.FINISHED
    assert source.over
    assert list(source.waiting) == ["pack 2"]


def test_a_spent_budget_begins_nothing() -> None:
    assert searcher(WithinBudget(PlannedPacks(shares(1)), lambda: 2.0, 2.0), [1]).suggest("a") == Searcher.FINISHED


class Needed:
    """One teacher in training, until `made`."""

    def __init__(self) -> None:
        self.made = self.failed = False

    @property
    def num_running(self) -> int:
        return 0 if self.made else 1

    def ready(self, pack: Any) -> bool:
        return self.made or pack != "pack 0"


def test_packs_wait_for_their_teacher_which_takes_a_place() -> None:
    needed = Needed()
    asked = PackSearcher(PlannedPacks(shares(3)), lambda packs: packs, lambda: 2, needed)  # type: ignore[arg-type, return-value]
    assert asked.suggest("a") == {"trial": ["pack 1"]}
    assert asked.suggest("b") is None  # the teacher has the other place
    needed.made = True
    assert asked.suggest("b") == {"trial": ["pack 0"]}
    needed.failed = True
    assert asked.suggest("c") == Searcher.FINISHED

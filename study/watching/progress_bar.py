"""The progress bar and the metrics of a sweep, drawn from one count at the same intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from tqdm import tqdm

from study.planning.members import Pack
from study.watching.count import StudyCount
from study.watching.periodic import called_every
from trainables.specs import TeacherSpec

_SECONDS_BETWEEN = 1.0
Describe = Callable[[StudyCount], tuple[int, str]]


@contextmanager
def bar(
    count: StudyCount,
    describe: Describe,
    *,
    total: int,
    unit: str,
    show: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Draws a progress bar with the time left until the block ends, and calls show() at each look at the count.

    describe(count) gives what is done and a remark.
    """
    display = tqdm(total=total, unit=unit, dynamic_ncols=True, mininterval=0.5, smoothing=0.05)

    def draw() -> None:
        with suppress(Exception):  # records or a cluster that are away for a moment: the next look follows
            count.refresh()
            show()
            done, remark = describe(count)
            display.set_postfix_str(remark, refresh=False)
            display.update(min(done, total) - display.n)

    try:
        with called_every(_SECONDS_BETWEEN, draw):
            yield
        draw()
        display.update(total - display.n)
    finally:
        display.close()


class Teachers(Protocol):
    """Teachers that are made beside the packs."""

    @property
    def specs(self) -> Sequence[TeacherSpec]: ...

    @property
    def num_running(self) -> int: ...


def describe_packs(packs: Sequence[Pack], teachers: Teachers | None, count: StudyCount) -> tuple[int, str]:
    """Steps taken of members and teachers, and how many packs, members and teachers are finished."""
    made = teachers.specs if teachers else ()
    num_members = sum(member.run_id in count.rows for pack in packs for member in pack.members)
    remark = f"teachers {len(made) - teachers.num_running}/{len(made)}, " if teachers and made else ""
    return (
        count.steps(packs, made),
        f"{remark}packs {count.pack_states(packs)['done']}/{len(packs)},"
        f" members {num_members}/{sum(len(pack.members) for pack in packs)}",
    )

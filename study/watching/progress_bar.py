"""The progress bar and the metrics of a sweep, drawn from one count at the same intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Protocol

from study.planning.members import Pack
from study.watching.display import Display
from study.watching.periodic import called_every
from study.watching.study_count import StudyCount
from study.watching.trouble import Trouble
from trainables.specs import TeacherSpec

_SECONDS_BETWEEN = 1.0
Describe = Callable[[StudyCount], tuple[int, str]]


@contextmanager
def bar(
    count: StudyCount,
    describe: Describe,
    *,
    total: int,
    seconds: float | None = None,
    show: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Shows what is done and the time left until the block ends, and calls show() at each look at the count.

    describe(count) gives what is done and a remark. seconds: what it takes by the study's throughput. Losses and
    failures are lines above the bar.
    """
    display = Display(total, seconds)
    trouble = Trouble(count.study_dir, count.since or datetime.now(UTC))

    def tell() -> None:
        with suppress(OSError):
            for line in trouble():
                display.write(line)

    def draw() -> None:
        tell()
        with suppress(Exception):  # records or a cluster that are away for a moment: the next look follows
            count.refresh()
            display.show(*describe(count))
        with suppress(Exception):
            show()

    try:
        draw()
        with called_every(_SECONDS_BETWEEN, draw):
            yield
        draw()
    finally:
        tell()  # of what ended the block
        display.close()


class Teachers(Protocol):
    """Teachers that are made beside the packs."""

    @property
    def specs(self) -> Sequence[TeacherSpec]: ...

    @property
    def cuts_student(self) -> bool: ...

    def is_made(self, spec: TeacherSpec) -> bool: ...


def describe_teachers(teachers: Teachers, count: StudyCount) -> tuple[int, str]:
    """Steps taken of the teachers, and in words how many are made and whether the student is being cut; no remark where
    nothing is missing.
    """
    made = [spec for spec in teachers.specs if teachers.is_made(spec)]
    steps = sum(
        spec.num_steps if spec in made else min(count.steps_of(spec.teacher_id), spec.num_steps)
        for spec in teachers.specs
    )
    remark = f"teachers {len(made)}/{len(teachers.specs)}, " if teachers.specs else ""
    return steps, remark + ("cutting the student, " if teachers.cuts_student else "")


def describe_search(
    packs: Sequence[Pack],
    teachers: Teachers,
    count: StudyCount,
    *,
    num_steps: int,
    num_before: int,
    num_members: int,
) -> tuple[int, str]:
    """Steps taken of members and teachers of a search, and in words how many of its members are finished.

    packs: those that were begun. num_steps: of every member. num_before: rows that are not of the search. num_members:
    of the whole search.
    """
    steps, remark = describe_teachers(teachers, count)
    num_finished = len(count.rows) - num_before
    num_in_packs = sum(member.run_id in count.rows for pack in packs for member in pack.members)
    running = count.member_steps(packs) - num_steps * num_in_packs
    return steps + num_steps * num_finished + running, f"{remark}searching, members {num_finished}/{num_members}"


def describe_packs(packs: Sequence[Pack], teachers: Teachers | None, count: StudyCount) -> tuple[int, str]:
    """Steps taken of members and teachers, and how many packs, members and teachers are finished."""
    teacher_steps, remark = describe_teachers(teachers, count) if teachers else (0, "")
    num_members = sum(member.run_id in count.rows for pack in packs for member in pack.members)
    return (
        teacher_steps + count.member_steps(packs),
        f"{remark}packs {count.pack_states(packs)['done']}/{len(packs)},"
        f" members {num_members}/{sum(len(pack.members) for pack in packs)}",
    )

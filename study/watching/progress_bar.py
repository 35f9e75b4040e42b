"""The progress bar: how far the study is, from its records and from its board."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import ray
from ray.actor import ActorHandle
from tqdm import tqdm

from analysis.records.rows import finished_run_ids
from study.planning.members import Pack
from study.watching.periodic import looking
from trainables.specs import TeacherSpec


@contextmanager
def bar(
    board: ActorHandle, describe: Callable[[dict[str, int]], tuple[int, str]], *, total: int, unit: str
) -> Iterator[None]:
    """Draws a progress bar with the time left until the block ends; describe(steps) gives what is done and a remark."""
    display = tqdm(total=total, unit=unit, dynamic_ncols=True, mininterval=0.5, smoothing=0.05)

    def draw() -> None:
        with suppress(ray.exceptions.RayError):  # the cluster is going down; the block ends next
            done, remark = describe(ray.get(board.steps.remote()))
            display.set_postfix_str(remark, refresh=False)
            display.update(min(done, total) - display.n)

    try:
        with looking(draw, seconds=1.0):
            yield
        display.update(total - display.n)
    finally:
        display.close()


class Teachers(Protocol):
    """Teachers that are made beside the packs."""

    @property
    def specs(self) -> Sequence[TeacherSpec]: ...

    @property
    def num_running(self) -> int: ...


def describe_packs(
    packs: Sequence[Pack], teachers: Teachers | None, study_dir: Path, steps: dict[str, int]
) -> tuple[int, str]:
    """Steps taken of members and teachers, and how many packs, members and teachers are finished."""
    finished = finished_run_ids(study_dir)
    num_packs = num_members = 0
    made = teachers.specs if teachers else ()
    member_steps = sum(min(steps.get(spec.teacher_id, 0), spec.num_steps) for spec in made)
    remark = f"teachers {len(made) - teachers.num_running}/{len(made)}, " if teachers and made else ""
    for pack in packs:
        done = sum(member.run_id in finished for member in pack.members)
        num_members += done
        num_packs += done == len(pack.members)
        budget = pack.members[0].train.steps
        taken = budget if done else min(steps.get(pack.pack_id, 0), budget)
        member_steps += taken * len(pack.members)
    return (
        member_steps,
        f"{remark}packs {num_packs}/{len(packs)}, members {num_members}/{sum(len(pack.members) for pack in packs)}",
    )

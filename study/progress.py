"""How far the study is: workers tell a small actor, and a thread here draws the bar."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import ray
from ray.actor import ActorHandle
from tqdm import tqdm

from analysis.records import finished_run_ids
from study.plan import Pack
from trainables.specs import TeacherSpec


class _Board:
    """Steps taken so far, by the name of the work."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}

    def update(self, name: str, steps: int) -> None:
        self._steps[name] = steps

    def steps(self) -> dict[str, int]:
        return self._steps


def report(board: ActorHandle, name: str, steps: int) -> None:
    """What a worker calls with the steps it has taken."""
    board.update.remote(name, steps)


def make_board() -> ActorHandle:
    """Beside the head, where it is not lost with a node that works."""
    return ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(_Board).remote()


@contextmanager
def bar(
    board: ActorHandle, describe: Callable[[dict[str, int]], tuple[int, str]], *, total: int, unit: str
) -> Iterator[None]:
    """Draws a progress bar with the time left until the block ends; describe(steps) gives what is done and a remark."""
    stop = threading.Event()
    display = tqdm(total=total, unit=unit, dynamic_ncols=True, mininterval=0.5, smoothing=0.05)

    def draw() -> None:
        while not stop.wait(1.0):
            try:
                done, remark = describe(ray.get(board.steps.remote()))
            except ray.exceptions.RayError:
                return  # the cluster is going down; the block ends next
            display.set_postfix_str(remark, refresh=False)
            display.update(min(done, total) - display.n)

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield
        display.update(total - display.n)
    finally:
        stop.set()
        thread.join()
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

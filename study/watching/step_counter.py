"""How far packs and teachers are: workers tell a small actor.

Imports Ray alone, for so does the actor's process.
"""

from __future__ import annotations

import ray
from ray.actor import ActorHandle


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

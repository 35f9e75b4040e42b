"""Ranks of a group as threads of this process: whether N ranks equal one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from trainables.losses.lift_place import RankMean

_SECONDS = 60.0


def on_ranks(num_ranks: int, work: Callable[[int, RankMean], torch.Tensor]) -> list[torch.Tensor]:
    """work(rank, rank_mean) of every rank, side by side; rank_mean averages what all of them hand to it."""
    given: dict[int, torch.Tensor] = {}
    barrier = threading.Barrier(num_ranks, timeout=_SECONDS)

    def run(rank: int) -> torch.Tensor:
        def mean(values: torch.Tensor) -> torch.Tensor:
            given[rank] = values.detach()
            barrier.wait()
            found = torch.stack([given[other] for other in range(num_ranks)]).mean(0)
            barrier.wait()  # before any of them hands over the next
            return found

        try:
            return work(rank, mean)
        except BaseException:
            barrier.abort()  # the others would wait
            raise

    with ThreadPoolExecutor(num_ranks) as pool:
        return [one.result() for one in [pool.submit(run, rank) for rank in range(num_ranks)]]


def whole_and_parts(
    loss: Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], RankMean | None], torch.Tensor],
    student: Sequence[torch.Tensor],
    teacher: Sequence[torch.Tensor],
    num_ranks: int = 2,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients for all `student` tensors (B, ...) of one rank, and those of ranks with B / num_ranks samples each.

    In data-parallel training gradients are averaged over ranks, so a rank's count 1 / num_ranks.
    """
    whole = _gradient(loss, student, teacher, None)

    def part(rank: int, mean: RankMean) -> torch.Tensor:
        share = [tuple(one.chunk(num_ranks)[rank] for one in side) for side in (student, teacher)]
        return _gradient(loss, share[0], share[1], mean) / num_ranks

    return whole, torch.cat(on_ranks(num_ranks, part))


def _gradient(
    loss: Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], RankMean | None], torch.Tensor],
    student: Sequence[torch.Tensor],
    teacher: Sequence[torch.Tensor],
    mean: RankMean | None,
) -> torch.Tensor:
    """(B, all elements of a sample)"""
    leaves = [one.detach().clone().requires_grad_() for one in student]
    gradients = torch.autograd.grad(loss(leaves, teacher, mean), leaves, allow_unused=True)
    filled = [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, gradients, strict=True)]
    return torch.cat([one.flatten(1) for one in filled], dim=1)

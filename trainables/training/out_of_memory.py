"""A pack that does not fit the memory is trained in parts, one after the other; results are the same."""

import traceback
from collections.abc import Callable, Iterator, Sequence

import torch

from trainables.evaluation.halving import free_memory
from trainables.models.saved import TrainedStudent
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training.checkpoints import Checkpoints
from trainables.training.failures import DoesNotFitError, MemberError

Train = Callable[[Sequence[Member]], Sequence[TrainedStudent]]


def train_in_parts(
    members: Sequence[Member],
    train: Train,
    ranks: Ranks,
    checkpoints: Checkpoints | None,
    num_that_fit: Callable[[Sequence[Member]], int] | None = None,
) -> Iterator[TrainedStudent]:
    """The outcomes of train(members), or of its halves, quarters ... where they are too many for the memory: more than
    num_that_fit(members) measures, or more than it turns out to hold.

    num_that_fit asks all ranks. They cannot agree on halves once one of them left the others in the middle of a step:
    there the new size is noted beside the checkpoints and DoesNotFitError is raised, for the whole group to begin
    again. Raises MemberError when a single member does not fit.
    """
    waiting = split(members, _most_members(members, ranks, checkpoints, num_that_fit))
    while waiting:
        part = waiting.pop(0)
        if checkpoints is not None and ranks.rank == 0 and len(part) < len(members):
            checkpoints.note_in_training([member.run_id for member in part])
        try:
            yield from train(part)
            continue
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise MemberError(part[0].run_id, traceback.format_exc()) from None
        halves = split(part, len(part) - 1)
        if checkpoints is not None:
            checkpoints.note_most_members(max(map(len, halves)))
        if ranks.world_size > 1:
            raise DoesNotFitError(f"{len(part)} members do not fit the memory of a worker")
        free_memory()
        waiting = [*halves, *waiting]


def _most_members(
    members: Sequence[Member],
    ranks: Ranks,
    checkpoints: Checkpoints | None,
    num_that_fit: Callable[[Sequence[Member]], int] | None,
) -> int | None:
    """What was noted, or is measured and noted then where it is less than all; None where neither says anything."""
    noted = checkpoints.most_members() if checkpoints else None
    if noted is not None or num_that_fit is None or len(members) < 2:
        return noted
    failed = False
    try:
        most = num_that_fit(members)
    except torch.OutOfMemoryError:  # not even one: it is tried alone, and named
        most, failed = 1, True
    if checkpoints is not None and most < len(members) and (failed or ranks.rank == 0):
        checkpoints.note_most_members(most)
    if failed:
        free_memory()
        if ranks.world_size > 1:
            raise DoesNotFitError("a step of one member does not fit the memory of a worker")
    return most


def split(members: Sequence[Member], most: int | None) -> list[list[Member]]:
    """The members in parts of at most `most`, halved between seeds first, then between members of a seed."""
    if not members:
        return []
    ordered = sorted(members, key=lambda member: (member.seed, member.train_id))
    if most is None or len(ordered) <= most:
        return [ordered]
    between_seeds = [index for index in range(1, len(ordered)) if ordered[index - 1].seed != ordered[index].seed]
    cut = min(between_seeds or range(1, len(ordered)), key=lambda index: abs(2 * index - len(ordered)))
    return [*split(ordered[:cut], most), *split(ordered[cut:], most)]

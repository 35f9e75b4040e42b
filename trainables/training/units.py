"""What runs at once in a step of a pack: a trainee alone, or a stack of them."""

from collections.abc import Mapping
from typing import Protocol

import torch

from trainables.data.streams import Batch
from trainables.training.failures import blamed_on
from trainables.training.trainee import Trainee


class Unit(Protocol):
    """Trainees of one stream of batches."""

    @property
    def active(self) -> list[Trainee]:
        """Those that are trained."""

    def backward(
        self,
        batch: Batch,
        teacher_output: torch.Tensor | None,
        teacher_features: Mapping[str, torch.Tensor],
        step: int,
        *,
        log: bool,
    ) -> list[tuple[Trainee, torch.Tensor]]:
        """Computes the gradients of a step; with each active trainee (1,) what must be finite for it to be taken."""

    def update(self, step: int) -> None:
        """Takes the step of those that are active."""


class Alone:
    """A trainee by itself."""

    def __init__(self, trainee: Trainee) -> None:
        self._trainee = trainee

    @property
    def active(self) -> list[Trainee]:
        return [self._trainee] if self._trainee.active else []

    def backward(
        self,
        batch: Batch,
        teacher_output: torch.Tensor | None,
        teacher_features: Mapping[str, torch.Tensor],
        step: int,
        *,
        log: bool,
    ) -> list[tuple[Trainee, torch.Tensor]]:
        trainee = self._trainee
        if not trainee.active:
            return []
        wanted = teacher_output if trainee.member.method.needs_teacher else None
        with blamed_on(trainee.member):
            return [(trainee, trainee.backward(batch, wanted, teacher_features, step, log=log))]

    def update(self, step: int) -> None:
        if self._trainee.active:
            self._trainee.update(step)

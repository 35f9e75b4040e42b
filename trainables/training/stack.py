"""Members that share an architecture, trained as one program: their state is the rows of a few tensors.

One model runs with stacked weights (torch.func.vmap, after HFTA, Wang et al. 2021, arXiv 2102.02344), every member has
its own loss, and one clipping, one step of the optimiser and one EMA act on all rows at once. On a GPU the passes are
a CUDA graph.
Shapes: M members, P numbers of a member (padded), B batch, C channels, H height, W width.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap

from trainables.arithmetic import narrowed
from trainables.data.streams import Batch
from trainables.fused.graphs import Graphed, beside_each_other
from trainables.fused.stacked_kernels import StackedKernels, members_at_once
from trainables.training.failures import blamed_on
from trainables.training.optimiser import ema_decay, learning_rate, make_optimiser, padded
from trainables.training.trainee import Trainee


class Stack:
    """Trains the members of one stream of batches. Of those that left (not `active`) nothing is moved any more.

    Their weights, gradients, EMAs and moments are rows of the stack's tensors; each Trainee reads and writes its row.
    """

    def __init__(self, trainees: Sequence[Trainee]) -> None:
        self.trainees = sorted(trainees, key=lambda trainee: trainee.member.method.feature)
        self._device = device = trainees[0].device
        width, self._num_student = max(trainee.num_parameters for trainee in trainees), self.trainees[0].num_student
        dtype = self.trainees[0].dtype
        num = len(self.trainees)
        self._weights, self._gradients = (torch.zeros((num, width), dtype=dtype, device=device) for _ in range(2))
        self._ema = torch.zeros((num, self._num_student), dtype=dtype, device=device)
        self._models = {trainee.member.method.feature: trainee.module for trainee in self.trainees}
        self._rows = [nn.Parameter(self._weights[row, : one.num_parameters]) for row, one in enumerate(self.trainees)]
        for row, trainee in enumerate(self.trainees):
            self._rows[row].grad = self._gradients[row, : trainee.num_parameters]
        self._optimisers = self._join()
        self._limits = torch.tensor(
            [one.member.train.max_grad_norm for one in self.trainees], dtype=dtype, device=device
        )
        self._progress = torch.zeros((), dtype=dtype, device=device)
        self._passes: Graphed[tuple[torch.Tensor, list[torch.Tensor]]] = Graphed()
        self._of_teacher: tuple[torch.Tensor | None, Mapping[str, torch.Tensor]] = None, {}
        self._parts: list[_Part] = []
        self._names: list[list[str]] = []

    @property
    def active(self) -> list[Trainee]:
        return [trainee for trainee in self.trainees if trainee.active]

    def backward(
        self,
        batch: Batch,
        teacher_output: torch.Tensor | None,
        teacher_features: Mapping[str, torch.Tensor],
        step: int,
        *,
        log: bool,
    ) -> list[tuple[Trainee, torch.Tensor]]:
        """Computes the gradients of a step; with each active member (1,) what must be finite for it to be taken.

        On a GPU the teacher's tensors must lie where they lay at the first call.
        """
        active = [row for row, trainee in enumerate(self.trainees) if trainee.active]
        if sorted(row for part in self._parts for row in part.rows) != active:
            self._parts = self._cut(active, batch)
            self._passes.forget()
        self._of_teacher = teacher_output, teacher_features
        self._progress.fill_(step / self.trainees[0].member.train.steps)
        checks, seen = self._passes(self._backward, batch)
        if log:
            for row, values in zip(active, seen, strict=True):
                self.trainees[row].log(step, self._names[row], values)
        return [(self.trainees[row], check) for row, check in zip(active, checks, strict=True)]

    def update(self, step: int) -> None:
        """Takes the step of every active member and moves its EMA."""
        weights = []
        for row, trainee in enumerate(self.trainees):
            if not trainee.active:
                self._rows[row].grad = None  # which the optimiser passes over
            train = trainee.member.train
            weights.append(1 - ema_decay(train, step) if trainee.active else 0.0)
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(group["train"], step)
            optimiser.step()
        students = self._weights[:, : self._num_student]
        if len(set(weights)) == 1:
            self._ema.lerp_(students, weights[0])
        else:
            self._ema.lerp_(students, torch.tensor(weights, dtype=self._ema.dtype, device=self._device)[:, None])

    def _join(self) -> list[torch.optim.Optimizer]:
        """Moves the members in; returns the optimisers, whose groups are the members of one recipe."""
        by_kind: dict[str, dict[Any, list[nn.Parameter]]] = {}
        for row, trainee in zip(self._rows, self.trainees, strict=True):
            train = trainee.member.train
            by_kind.setdefault(train.optimiser, {}).setdefault(train, []).append(row)
        optimisers = {kind: make_optimiser(groups) for kind, groups in by_kind.items()}
        for index, trainee in enumerate(self.trainees):
            trainee.move(self._rows[index], self._ema[index], optimisers[trainee.member.train.optimiser])
        return list(optimisers.values())

    def _cut(self, active: Sequence[int], batch: Batch) -> list["_Part"]:
        """The active members in parts that run as one model: neighbours that compare the same features."""
        at_once = members_at_once(batch.x_t)
        parts = []
        for feature, rows in groupby(active, key=lambda row: self.trainees[row].member.method.feature):
            for run in _neighbours(list(rows)):
                for first in range(0, len(run), at_once):
                    some = run[first : first + at_once]
                    parts.append(_Part(self._models[feature], some, self._weights, self._gradients))
        return parts

    def _backward(self, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Gradients into their rows, clipped. Returns (m,) what must be finite, and what the curves show, of each of
        the m active members.
        """
        losses: dict[int, torch.Tensor] = {}
        seen: dict[int, dict[str, torch.Tensor]] = {}
        with beside_each_other(batch.x_t.device) as on_the_next:
            for part in self._parts:
                with on_the_next():
                    self._run(part, batch, losses, seen)
        rows = sorted(losses)
        students = self._gradients[:, : self._num_student]
        norms = torch.linalg.vector_norm(students, dim=1)
        # As nn.utils.clip_grad_norm_ does; in the authors' code, too, the student's gradients alone are clipped.
        students.mul_((self._limits / (norms + 1e-6)).clamp(max=1.0)[:, None])
        of_adapters = self._gradients[:, self._num_student :].square().sum(dim=1)
        checks = torch.stack([norms[row] + of_adapters[row] + losses[row] for row in rows])
        self._names = [[*seen.get(row, {}), "grad_norm"] for row in range(len(self.trainees))]
        return checks, [torch.stack([*seen[row].values(), norms[row].to(torch.float64)]) for row in rows]

    def _run(
        self, part: "_Part", batch: Batch, losses: dict[int, torch.Tensor], seen: dict[int, dict[str, torch.Tensor]]
    ) -> None:
        """Loss and gradients of the members of a part."""
        output, features = self._of_teacher
        member = self.trainees[part.rows[0]].member
        with narrowed(member.train.matmul, self._device):
            passed = part.outputs(batch.x_t, member.process.model_time(batch.t), batch.condition)
        for row, (said, inner, adapters) in zip(part.rows, passed, strict=True):
            trainee = self.trainees[row]
            wanted = output if trainee.member.method.needs_teacher else None
            narrow = [one.to(self._progress.dtype) for one in (said, *inner)]
            with blamed_on(trainee.member):
                terms, seen[row] = trainee.loss(
                    batch, narrow[0], narrow[1:], wanted, features, progress=self._progress, adapters=adapters, log=True
                )
            losses[row] = terms.loss
        part.backward(torch.stack([losses[row] for row in part.rows]))
        for row in part.rows:
            losses[row] = losses[row].detach()


class _Part:
    """Members that run as one model: neighbouring rows of the stack, or a single one."""

    def __init__(self, model: nn.Module, rows: Sequence[int], weights: torch.Tensor, gradients: torch.Tensor) -> None:
        self.rows, self._model = rows, model
        self._leaves: dict[str, torch.Tensor] = {}
        self._gradients: list[torch.Tensor] = []
        which = slice(rows[0], rows[-1] + 1)
        offset = 0
        for name, parameter in model.named_parameters():
            columns, shape = slice(offset, offset + parameter.numel()), (len(rows), *parameter.shape)
            self._leaves[name] = weights[which, columns].view(shape).detach().requires_grad_()
            self._gradients.append(gradients[which, columns].view(shape))
            offset += padded(parameter.numel())

    def outputs(
        self, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
    ) -> list[tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]]:
        """Of every member: what it says of x_t (B, C, H, W) at times (B,), its features, and its adapters."""
        adapters = [leaf.unbind() for name, leaf in self._leaves.items() if name.startswith("adapters.")]
        if len(self.rows) == 1:
            output, features = self._call({name: leaf[0] for name, leaf in self._leaves.items()}, x_t, time, condition)
            return [(output, features, [one[0] for one in adapters])]
        with StackedKernels():
            stacked, features = vmap(self._call, (0, None, None, None))(self._leaves, x_t, time, condition)
        # Unbound and not indexed: of indices, backward makes as many tensors of the whole stack.
        inner, outputs = [one.unbind() for one in features], stacked.unbind()
        return [
            (outputs[index], [one[index] for one in inner], [one[index] for one in adapters])
            for index in range(len(self.rows))
        ]

    def backward(self, losses: torch.Tensor) -> None:
        """The gradients of the members' losses (m,) into their rows; no member's loss hangs on another's weights."""
        leaves = list(self._leaves.values())
        found = torch.autograd.grad(losses.sum(), leaves, allow_unused=True, materialize_grads=True)
        for mine, gradient in zip(self._gradients, found, strict=True):
            mine.copy_(gradient)

    def _call(
        self,
        weights: dict[str, torch.Tensor],
        x_t: torch.Tensor,
        time: torch.Tensor,
        condition: Mapping[str, torch.Tensor],
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return functional_call(self._model, weights, (x_t, time, condition))  # type: ignore[no-any-return]


def _neighbours(rows: Sequence[int]) -> list[list[int]]:
    """Ascending rows in runs without gaps."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and runs[-1][-1] == row - 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs

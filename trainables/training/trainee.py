"""One member in training: its student, adapters, optimiser, EMA and curve.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trainables.arithmetic import narrowed
from trainables.data import DataShape
from trainables.data.streams import Batch
from trainables.families import split_variance
from trainables.losses.features import Shapes
from trainables.losses.lift_place import lift_place_terms
from trainables.losses.objective import Terms, objective
from trainables.losses.variational import variational_loss
from trainables.ranks import Ranks
from trainables.seeds import derived_seed
from trainables.specs import Member
from trainables.training.adapted_student import AdaptedStudent
from trainables.training.execution import BY_DEFAULT, Execution
from trainables.training.optimiser import ema_decay, flatten_parameters, learning_rate, make_optimiser, padded

_MOMENT = "optimiser."


class Trainee:
    """A member's training state. Everything in it follows from the member and the steps taken, not from pack mates.

    new_student() is the member's initial student, a model of its own at every call. teacher_features: by feature loss,
    the shapes of the teacher's features of one image.
    """

    def __init__(
        self,
        member: Member,
        new_student: Callable[[], nn.Module],
        shape: DataShape,
        *,
        teacher_features: Mapping[str, Shapes],
        device: torch.device,
        ranks: Ranks,
        execution: Execution = BY_DEFAULT,
    ) -> None:
        self.member, self.ranks = member, ranks
        self.diverged_at_step: int | None = None
        self.stopped_at_step: int | None = None  # early, at a rung
        self.fused = False
        self.curve: list[dict[str, float | int]] = []
        self._new_student, self._num_channels = new_student, shape.image[0]
        student = new_student()
        feature = member.method.feature
        module = AdaptedStudent(
            student, feature, teacher_features.get(feature, {}), shape, member.seed, execution=execution
        )
        self._adapters, self._teacher_names = module.adapters, [other for _, other in module.pairs]
        module.to(device=device, dtype=getattr(torch, member.train.precision)).train()
        self._parameters, num_student = flatten_parameters(module, first=student)
        self._student_part = slice(0, num_student)
        # The student's parameters alone, for clipping; the same memory.
        self._student_parameters = self._parameters.detach()[self._student_part]
        assert self._parameters.grad is not None
        self._student_parameters.grad = self._parameters.grad[self._student_part]
        self._ema = self._student_parameters.clone()
        self._module = ranks.wrap(module)
        self._optimiser: torch.optim.Optimizer | None = make_optimiser({member.train: [self._parameters]})
        self.has_dropout = any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in module.modules())

    @property
    def active(self) -> bool:
        return self.diverged_at_step is None and self.stopped_at_step is None

    @property
    def device(self) -> torch.device:
        return self._ema.device

    @property
    def can_be_stacked(self) -> bool:
        """Whether nothing is known against its training as a row of a stack."""
        return not (self.has_dropout or self.member.method.code or getattr(self.member.student, "code", None))

    @property
    def dtype(self) -> torch.dtype:
        return self._ema.dtype

    @property
    def num_parameters(self) -> int:
        """Of student and adapters, padded."""
        return self._parameters.numel()

    @property
    def num_student(self) -> int:
        """Of the student, which come first, padded."""
        return self._ema.numel()

    @property
    def module(self) -> nn.Module:
        """What is trained: the student with its adapters (AdaptedStudent)."""
        return self._module

    def move(self, weights: nn.Parameter, ema: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
        """Lives on as a row of a stack, whose optimiser moves it: in a flat parameter like its own, and an EMA."""
        with torch.no_grad():
            weights.copy_(self._parameters)
            ema.copy_(self._ema)
        self._parameters, self._ema, self._optimiser, self.fused = weights, ema, optimiser, True
        self._student_parameters = weights.detach()[self._student_part]
        self._module, self._adapters = nn.Module(), nn.ParameterList()

    def log(self, step: int, names: Sequence[str], values: torch.Tensor) -> None:
        """A point of the curve: values (n,), float64, averaged over the ranks."""
        self.curve.append({"step": step, **dict(zip(names, self.ranks.mean(values).tolist(), strict=True))})

    def backward(
        self,
        batch: Batch,
        teacher_output: torch.Tensor | None,
        teacher_features: Mapping[str, torch.Tensor],
        step: int,
        *,
        log: bool,
    ) -> torch.Tensor:
        """Computes the gradients of one step; returns (1,) what must be finite for the step to be taken.

        teacher_output: (B, C, H, W), or (B, 2C, H, W) with a learned variance.
        """
        output, student_features = self._forward(batch, step)
        progress = step / self.member.train.steps
        terms, seen = self.loss(
            batch, output, student_features, teacher_output, teacher_features, progress=progress, log=log
        )
        terms.loss.backward()  # type: ignore[no-untyped-call]
        # The gradients are averaged over ranks, so their norm is the same on all; the loss is local. As in the authors'
        # code the student's alone are clipped; those of the adapters must be finite, too.
        self._grad_norm = nn.utils.clip_grad_norm_([self._student_parameters], self.member.train.max_grad_norm)
        if log:
            self.log(step, [*seen, "grad_norm"], torch.stack([*seen.values(), self._grad_norm.to(torch.float64)]))
        assert self._parameters.grad is not None
        of_adapters: torch.Tensor = self._parameters.grad[self._student_part.stop :].square().sum()
        check: torch.Tensor = self._grad_norm + of_adapters + terms.loss.detach()
        return check

    def loss(
        self,
        batch: Batch,
        output: torch.Tensor,
        student_features: Sequence[torch.Tensor],
        teacher_output: torch.Tensor | None,
        teacher_features: Mapping[str, torch.Tensor],
        *,
        progress: float | torch.Tensor,
        log: bool,
        adapters: Sequence[torch.Tensor] | None = None,
    ) -> tuple[Terms, dict[str, torch.Tensor]]:
        """The member's loss of its output (B, C or 2C, H, W), and, to log, what its curve shows of it: float64 scalars.

        progress: the share of the training that is done. adapters: in place of the trainee's own.
        """
        output, variance = split_variance(output, self._num_channels)
        teacher_variance = None
        if teacher_output is not None:
            teacher_output, teacher_variance = split_variance(teacher_output, self._num_channels)
        towards = None if teacher_output is None or teacher_variance is None else (teacher_output, teacher_variance)
        terms = objective(
            self.member.method,
            output,
            batch.target if self.member.train.diffusion_loss == "matching" else None,
            matching=batch.matching,
            teacher_output=teacher_output,
            student_features=student_features,
            teacher_features=[teacher_features[name] for name in self._teacher_names],
            adapters=list(self._adapters) if adapters is None else adapters,
            variational=self._variational(batch, output, variance),
            variational_to_teacher=self._variational(batch, output, variance, towards) if towards else None,
            progress=progress,
            rank_mean=self.ranks.mean,
        )
        return terms, _seen(terms, output.detach(), teacher_output) if log else {}

    def diverge(self, step: int) -> None:
        """Freezes the member for good: the loss or a gradient of this step was not finite."""
        self.diverged_at_step = step
        self._optimiser = None

    def update(self, step: int) -> None:
        """Takes the optimiser's step and moves the EMA."""
        assert self._optimiser is not None
        self._optimiser.param_groups[0]["lr"] = learning_rate(self.member.train, step)
        self._optimiser.step()
        assert self._parameters.grad is not None
        self._parameters.grad.zero_()
        self._ema.lerp_(self._student_parameters, 1 - ema_decay(self.member.train, step))

    def pass_rung(self, step: int, fid: float, *, stop: bool) -> None:
        """Notes the FID after `step` steps in the curve, and leaves the pack for good where `stop` is true."""
        self.curve.append({"step": step, "fid": fid})
        if stop:
            self.stopped_at_step = step
            self._optimiser = None

    def ema_student(self) -> nn.Module:
        """A fresh model that holds the EMA of the student's weights, in evaluation mode."""
        model = self._new_student()
        nn.Module.to(model, device=self._ema.device, dtype=self._ema.dtype)  # diffusers' own .to() warns of any type
        offset = 0
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(self._ema[offset : offset + parameter.numel()].view_as(parameter))
                offset += padded(parameter.numel())
        return model.eval().requires_grad_(False)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the next steps follow from, beside `marks`: flat parameters, EMA, and the optimiser's moments."""
        tensors = {"parameters": self._parameters.detach(), "ema": self._ema}
        return tensors | {f"{_MOMENT}{name}": value for name, value in self.moments().items()}

    def moments(self) -> dict[str, torch.Tensor]:
        """What the optimiser keeps of the steps that were taken, by its own names; nothing of a member that left."""
        return {} if self._optimiser is None else dict(self._optimiser.state[self._parameters])

    def marks(self) -> dict[str, Any]:
        """The curve, and whether the member left its pack; for JSON."""
        return {
            "curve": self.curve,
            "diverged_at_step": self.diverged_at_step,
            "stopped_at_step": self.stopped_at_step,
        }

    def restore(self, tensors: Mapping[str, torch.Tensor], marks: Mapping[str, Any]) -> None:
        """Makes a new trainee what another one of the same member was when it gave its `tensors` and `marks`."""
        self.curve = list(marks["curve"])
        self.diverged_at_step, self.stopped_at_step = marks["diverged_at_step"], marks["stopped_at_step"]
        self._parameters.detach().copy_(tensors["parameters"])
        self._ema.copy_(tensors["ema"])
        moments = {key.removeprefix(_MOMENT): value for key, value in tensors.items() if key.startswith(_MOMENT)}
        if not self.active:
            self._optimiser = None
        elif self._optimiser is not None:
            self._optimiser.state[self._parameters] = {
                name: value.to(self.device, copy=True) for name, value in moments.items()
            }

    def _forward(self, batch: Batch, step: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        if not self.has_dropout:
            return self._passed(batch)
        devices = [self._ema.device] if self._ema.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # dropout draws from the default generator
            torch.manual_seed(derived_seed(self.member.seed, "dropout", step, self.ranks.rank))
            return self._passed(batch)

    def _passed(self, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        with narrowed(self.member.train.matmul, self.device):
            output, features = self._module(batch.x_t, self.member.process.model_time(batch.t), batch.condition)
        return output.to(self._ema.dtype), [feature.to(self._ema.dtype) for feature in features]

    def _variational(
        self,
        batch: Batch,
        output: torch.Tensor,
        variance: torch.Tensor | None,
        teacher: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor | None:
        """The term of a learned variance, towards the data's or the teacher's; None where there is none."""
        if variance is None or (batch.x_0 is None and teacher is None):
            return None
        return variational_loss(
            self.member.process,
            output,
            variance,
            x_0=batch.x_0,
            x_t=batch.x_t,
            t=batch.t,
            reduction=self.member.method.reduction,
            teacher=teacher,
            matching=batch.matching if teacher is None else None,
        )


def _seen(terms: Terms, output: torch.Tensor, teacher_output: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """What a curve shows of a loss, float64 scalars."""
    values = {
        "loss": terms.loss,
        "loss_diff": terms.loss_diff,
        "loss_out": terms.loss_out,
        "loss_feat": terms.loss_feat,
    }
    values |= {"gate": terms.gate, "slope_error": terms.slope_error, "intercept_error": terms.intercept_error}
    if teacher_output is not None:
        values["distance"] = (output - teacher_output).square().mean()
        if terms.slope_error is None:  # fits the line of LIFT also to a method that does not ask for it
            fit = lift_place_terms(output, teacher_output, group_size=output[0, 0].numel())
            values |= {"slope_error": fit.slope_error, "intercept_error": fit.intercept_error}
    return {key: value.detach().to(torch.float64) for key, value in values.items() if value is not None}

"""One member in training: its student, adapters, optimiser, EMA and curve.

Shapes: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from trainables.data import DataShape
from trainables.data.streams import Batch
from trainables.families import family_of, predict, split_variance
from trainables.losses.features import (
    FEATURE_LOSSES,
    Shapes,
    feature_names,
    make_adapters,
    pair_up,
    record_features,
)
from trainables.losses.lift_place import lift_place_terms
from trainables.losses.objective import Terms, objective
from trainables.losses.variational import variational_loss
from trainables.models import example_inputs
from trainables.ranks import Ranks
from trainables.seeds import derived_generator, derived_seed
from trainables.specs import Member, TrainSpec

_MOMENT = "optimiser."


class AdaptedStudent(nn.Module):
    """The student and, where its method compares features, the adapters that map them to the teacher's channels.

    teacher_features: shapes of the features of one image, by name of the teacher's module.
    """

    def __init__(self, student: nn.Module, feature: str, teacher_features: Shapes, shape: DataShape, seed: int) -> None:
        super().__init__()
        self.student = student
        self.adapters = nn.ParameterList()
        self.pairs: list[tuple[str, str]] = []  # names of the student's modules and the teacher's
        if feature != "none":
            self._features = record_features(student, feature_names(student, feature))
            shapes = feature_shapes(student, shape, self._features)
            self.pairs = pair_up(feature, shapes, teacher_features, family_of(student).pair)
            if FEATURE_LOSSES[feature].adapted:
                inputs, outputs = zip(
                    *((shapes[one], teacher_features[other]) for one, other in self.pairs), strict=True
                )
                self.adapters = make_adapters(inputs, outputs, derived_generator(seed, "adapters"))

    def forward(
        self, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        output = predict(self.student, x_t, time, condition)
        features = [self._features[one] for one, _ in self.pairs]
        if self.pairs:
            self._features.clear()
        return output, features


def feature_shapes(model: nn.Module, shape: DataShape, features: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    """Shapes of the features that one image leaves in the mapping of `record_features`."""
    parameter = next(model.parameters())
    was_training = model.training
    with torch.no_grad():  # dropout would draw
        predict(model.eval(), *example_inputs(shape, 1, parameter.device, parameter.dtype))
    model.train(was_training)
    shapes = {name: feature.shape for name, feature in features.items()}
    features.clear()
    return shapes


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
    ) -> None:
        self.member, self.ranks = member, ranks
        self.diverged_at_step: int | None = None
        self.stopped_at_step: int | None = None  # early, at a rung
        self.curve: list[dict[str, float | int]] = []
        self._new_student, self._num_channels = new_student, shape.image[0]
        student = new_student()
        feature = member.method.feature
        module = AdaptedStudent(student, feature, teacher_features.get(feature, {}), shape, member.seed)
        self._adapters, self._teacher_names = module.adapters, [other for _, other in module.pairs]
        module.to(device=device, dtype=getattr(torch, member.train.precision)).train()
        self._parameters, num_student = flatten_parameters(module, first=student)
        self._student_part = slice(0, num_student)
        self._ema = self._parameters.detach()[self._student_part].clone()
        self._module = ranks.wrap(module)
        self._optimiser: torch.optim.Optimizer | None = make_optimiser(self._parameters, member.train)
        self._has_dropout = any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in module.modules())

    @property
    def active(self) -> bool:
        return self.diverged_at_step is None and self.stopped_at_step is None

    @property
    def device(self) -> torch.device:
        return self._ema.device

    def backward(
        self,
        batch: Batch,
        teacher_output: torch.Tensor | None,
        teacher_features: Mapping[str, torch.Tensor],
        step: int,
        *,
        log: bool,
    ) -> torch.Tensor:
        """Computes the gradients of one step; returns (1,) what must be finite for the step to be taken."""
        output, student_features = self._forward(batch, step)
        output, variance = split_variance(output, self._num_channels)
        terms = objective(
            self.member.method,
            output,
            batch.target,
            teacher_output=teacher_output,
            student_features=student_features,
            teacher_features=[teacher_features[name] for name in self._teacher_names],
            adapters=list(self._adapters),
            variational=self._variational(batch, output, variance),
            progress=step / self.member.train.steps,
            rank_mean=self.ranks.mean,
        )
        terms.loss.backward()  # type: ignore[no-untyped-call]
        # The gradients are averaged over ranks, so their norm is the same on all; the loss is local.
        self._grad_norm = nn.utils.clip_grad_norm_([self._parameters], self.member.train.max_grad_norm)
        if log:
            self._log(step, terms, output.detach(), teacher_output)
        return self._grad_norm + terms.loss.detach()

    def update(self, step: int, *, finite: bool) -> None:
        """Takes the optimiser's step and moves the EMA, or freezes the member for good."""
        if not finite:
            self.diverged_at_step = step
            self._optimiser = None
            return
        assert self._optimiser is not None
        self._optimiser.param_groups[0]["lr"] = learning_rate(self.member.train, step)
        self._optimiser.step()
        assert self._parameters.grad is not None
        self._parameters.grad.zero_()
        decay = min(self.member.train.ema_decay, (1 + step) / (10 + step))  # diffusers' EMAModel warms up like this
        self._ema.lerp_(self._parameters.detach()[self._student_part], 1 - decay)

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
                offset += _padded(parameter.numel())
        return model.eval().requires_grad_(False)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the next steps follow from, beside `marks`: flat parameters, EMA, and the optimiser's moments."""
        tensors = {"parameters": self._parameters.detach(), "ema": self._ema}
        moments = {} if self._optimiser is None else self._optimiser.state[self._parameters]
        return tensors | {f"{_MOMENT}{name}": value for name, value in moments.items()}

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
            self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": {0: moments}})

    def _forward(self, batch: Batch, step: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        time = self.member.process.model_time(batch.t)
        if not self._has_dropout:
            return self._module(batch.x_t, time, batch.condition)  # type: ignore[no-any-return]
        devices = [self._ema.device] if self._ema.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # dropout draws from the default generator
            torch.manual_seed(derived_seed(self.member.seed, "dropout", step, self.ranks.rank))
            return self._module(batch.x_t, time, batch.condition)  # type: ignore[no-any-return]

    def _variational(self, batch: Batch, output: torch.Tensor, variance: torch.Tensor | None) -> torch.Tensor | None:
        if variance is None or batch.x_0 is None:
            return None
        return variational_loss(
            self.member.process,
            output,
            variance,
            x_0=batch.x_0,
            x_t=batch.x_t,
            t=batch.t,
            reduction=self.member.method.reduction,
        )

    def _log(self, step: int, terms: Terms, output: torch.Tensor, teacher_output: torch.Tensor | None) -> None:
        values = {
            "loss": terms.loss,
            "loss_diff": terms.loss_diff,
            "loss_out": terms.loss_out,
            "loss_feat": terms.loss_feat,
        }
        values |= {"gate": terms.gate, "slope_error": terms.slope_error, "intercept_error": terms.intercept_error}
        values["grad_norm"] = self._grad_norm
        if teacher_output is not None:
            values["distance"] = (output - teacher_output).square().mean()
            if terms.slope_error is None:  # fits the line of LIFT also to a method that does not ask for it
                fit = lift_place_terms(output, teacher_output, group_size=output[0, 0].numel())
                values |= {"slope_error": fit.slope_error, "intercept_error": fit.intercept_error}
        known = {key: value.detach() for key, value in values.items() if value is not None}
        means = self.ranks.mean(torch.stack([value.to(torch.float64) for value in known.values()]))
        self.curve.append({"step": step, **dict(zip(known, means.tolist(), strict=True))})


def flatten_parameters(module: nn.Module, *, first: nn.Module) -> tuple[nn.Parameter, int]:
    """Moves all parameters of the module, those of `first` in front, into one flat parameter that they become views of.

    Clipping, the optimiser and the EMA then act on one tensor instead of a hundred small ones. Every view starts on a
    64-byte boundary (padded with zeros). Returns the flat parameter, its gradient in place, and the length of the
    front part.
    """
    ours = {id(parameter) for parameter in first.parameters()}
    parameters = [*first.parameters(), *(parameter for parameter in module.parameters() if id(parameter) not in ours)]
    lengths = [_padded(parameter.numel()) for parameter in parameters]
    like = parameters[0]
    flat = nn.Parameter(torch.zeros(sum(lengths), dtype=like.dtype, device=like.device))
    flat.grad = torch.zeros_like(flat)
    offset = 0
    for parameter, length in zip(parameters, lengths, strict=True):
        view = slice(offset, offset + parameter.numel())
        flat.data[view] = parameter.detach().flatten()
        parameter.data = flat.data[view].view_as(parameter)
        parameter.grad = flat.grad[view].view_as(parameter)
        offset += length
    return flat, sum(lengths[: len(ours)])


def _padded(length: int) -> int:
    return -(-length // 16) * 16


def make_optimiser(parameters: nn.Parameter, train: TrainSpec) -> torch.optim.Optimizer:
    kinds: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[train.optimiser]([parameters], lr=train.lr, fused=True)


def learning_rate(train: TrainSpec, step: int) -> float:
    """The learning rate of a step: constant, or a half cosine from lr to min_lr over the training."""
    if train.lr_schedule == "constant":
        return train.lr
    return train.min_lr + (train.lr - train.min_lr) * (1 + math.cos(math.pi * step / train.steps)) / 2

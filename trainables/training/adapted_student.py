"""A student with what its feature loss needs: the hooks, the pairs of modules, the adapters."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainables.data import DataShape
from trainables.families import family_of, predict
from trainables.losses.features import Shapes, feature_loss, make_adapters, pair_up
from trainables.seeds import derived_generator
from trainables.training.execution import BY_DEFAULT, Execution
from trainables.training.recorded_features import feature_names, feature_shapes, record_features


class AdaptedStudent(nn.Module):
    """The student and, where its method compares features, the adapters that map them to the teacher's channels.

    teacher_features: shapes of the features of one image, by name of the teacher's module.

    Gradient accumulation: a loss may hang on all of a batch (the gate of LIFT, the correlations of DIST), so its
    loss is not the sum of those of its parts. Each part leaves its output and features and nothing else; the backward
    pass of the one loss computes its activations again, a part at a time.
    """

    def __init__(
        self,
        student: nn.Module,
        feature: str,
        teacher_features: Shapes,
        shape: DataShape,
        seed: int,
        *,
        execution: Execution = BY_DEFAULT,
    ) -> None:
        super().__init__()
        self.student, self._num_parts = student, execution.gradient_accumulation
        if execution.activation_checkpointing:
            student.enable_gradient_checkpointing()  # type: ignore[operator]
        self.adapters = nn.ParameterList()
        self.pairs: list[tuple[str, str]] = []  # names of the student's modules and the teacher's
        if feature != "none":
            self._features = record_features(student, feature_names(student, feature))
            shapes = feature_shapes(student, shape, self._features)
            self.pairs = pair_up(feature, shapes, teacher_features, family_of(student).pair)
            if feature_loss(feature).adapted:
                inputs, outputs = zip(
                    *((shapes[one], teacher_features[other]) for one, other in self.pairs), strict=True
                )
                self.adapters = make_adapters(inputs, outputs, derived_generator(seed, "adapters"))

    def forward(
        self, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        if self._num_parts == 1:
            output, *features = self._pass(x_t, time, condition)
            return output, features
        found = [
            checkpoint(self._pass, *part, use_reentrant=False) for part in _parts(x_t, time, condition, self._num_parts)
        ]
        output, *features = (torch.cat(parts) for parts in zip(*found, strict=True))
        return output, features

    def _pass(
        self, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """The output and the features."""
        output = predict(self.student, x_t, time, condition)
        features = [self._features[one] for one, _ in self.pairs]
        if self.pairs:
            self._features.clear()
        return output, *features


def _parts(
    x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor], number: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]]:
    """What a model is called with, in so many equal parts."""
    for indices in torch.arange(len(x_t)).chunk(number):
        part = slice(int(indices[0]), int(indices[-1]) + 1)
        yield x_t[part], time[part], {name: value[part] for name, value in condition.items()}

"""A student with what its feature loss needs: the hooks, the pairs of modules, the adapters."""

from collections.abc import Mapping

import torch
from torch import nn

from trainables.data import DataShape
from trainables.families import family_of, predict
from trainables.losses.features import FEATURE_LOSSES, Shapes, make_adapters, pair_up
from trainables.seeds import derived_generator
from trainables.training.recorded_features import feature_names, feature_shapes, record_features


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

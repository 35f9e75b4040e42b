"""Models of one architecture that answer as one, each of its own images: fused sampling.

Shapes: M models, B images of each, C channels, H height, W width.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.func import functional_call, vmap

from trainables.data.streams import Batch
from trainables.families import predict
from trainables.fused.graphs import Graphed, beside_each_other
from trainables.fused.stacked_kernels import StackedKernels, members_at_once


class Together:
    """Takes and gives the images of all models, those of the first in front: (M*B, C, H, W).

    The models are in evaluation mode; on a GPU an answer is a CUDA graph.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._models = models
        self._shell = _Answer(models[0])
        named = [dict(_Answer(model).named_parameters()) for model in models]
        self._weights = (
            [{name: torch.stack([one[name].detach() for one in named]) for name in named[0]}]
            if len(models) > 1
            else named
        )
        self._answer: Graphed[torch.Tensor] = Graphed()

    def __call__(self, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What each says of its x_t (M*B, C, H, W) at times (M*B,) under the condition (B, ...) of each."""
        found = self._answer(self._all, Batch(None, x_t, time, None, condition))
        return found.clone()  # the next answer overwrites it

    def _all(self, batch: Batch) -> torch.Tensor:
        num = len(self._models)
        x_t, time = batch.x_t.view(num, -1, *batch.x_t.shape[1:]), batch.t[: len(batch.x_t) // num]
        at_once, outputs = members_at_once(x_t[0]), []
        with beside_each_other(x_t.device) as on_the_next:
            for first in range(0, num, at_once):
                with on_the_next():
                    outputs.append(self._some(slice(first, first + at_once), x_t, time, batch.condition))
        return torch.cat(outputs)

    def _some(
        self, which: slice, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        models = self._models[which]
        if len(models) == 1:
            return predict(models[0], x_t[which.start], time, condition)
        weights = {name: values[which] for name, values in self._weights[0].items()}

        def answer(own: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            return functional_call(self._shell, own, (x, time, condition))  # type: ignore[no-any-return]

        with StackedKernels():
            return vmap(answer)(weights, x_t[which]).flatten(0, 1)


class _Answer(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return predict(self.model, x_t, time, condition)

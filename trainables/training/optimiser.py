"""How a step moves the weights: flat parameters, the optimiser, the learning rate and the EMA's decay."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from trainables.specs import TrainSpec


def flatten_parameters(module: nn.Module, *, first: nn.Module) -> tuple[nn.Parameter, int]:
    """Moves all parameters of the module, those of `first` in front, into one flat parameter that they become views of.

    Clipping, the optimiser and the EMA then act on one tensor instead of a hundred small ones. Every view starts on a
    64-byte boundary (padded with zeros). Returns the flat parameter, its gradient in place, and the length of the
    front part.
    """
    ours = {id(parameter) for parameter in first.parameters()}
    parameters = [*first.parameters(), *(parameter for parameter in module.parameters() if id(parameter) not in ours)]
    lengths = [padded(parameter.numel()) for parameter in parameters]
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


def padded(length: int) -> int:
    return -(-length // 16) * 16


def make_optimiser(groups: Mapping[TrainSpec, Sequence[nn.Parameter]]) -> torch.optim.Optimizer:
    """One optimiser, of one kind, of flat parameters by the recipe that they are trained with; in a group it is
    `train`.
    """
    kinds: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    kind = kinds[next(iter(groups)).optimiser]
    recipes = [
        {"params": parameters, "lr": train.lr, "weight_decay": train.weight_decay, "train": train}
        for train, parameters in groups.items()
    ]
    return kind(recipes, fused=True)


def learning_rate(train: TrainSpec, step: int) -> float:
    """The learning rate of a step: constant, or a half cosine from lr to min_lr over the training."""
    if train.lr_schedule == "constant":
        return train.lr
    return train.min_lr + (train.lr - train.min_lr) * (1 + math.cos(math.pi * step / train.steps)) / 2


def ema_decay(train: TrainSpec, step: int) -> float:
    """The EMA's decay at a step; with a warm-up it grows to that of the recipe as in diffusers' EMAModel."""
    return min(train.ema_decay, (1 + step) / (10 + step)) if train.ema_warmup else train.ema_decay

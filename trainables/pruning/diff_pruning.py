"""Diff-Pruning (Fang et al. 2023): a U-Net without the channels that its denoising needs least."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.nn import functional

from trainables.checks import require_number, require_whole
from trainables.data import Dataset
from trainables.families.pruned_unet import PrunedUNet2DModel, set_channels, widths_of
from trainables.process import Process
from trainables.seeds import derived_generator


@dataclass(frozen=True, kw_only=True)
class DiffPruning:
    """ratio: the part of every layer's channels that is removed; what is left is rounded up to multiples of round_to.

    The importance of a channel is its first-order Taylor term, the sum of |weight * gradient| over all weights that go
    with it (torch-pruning finds them). The gradient is accumulated over the diffusion loss at timesteps 0, 1, 2, ... of
    one batch, until the loss falls below `threshold` times the largest so far, or num_steps are done (null: all).
    """

    ratio: float
    threshold: float = 0.05
    num_steps: int | None = None
    batch_size: int = 64
    round_to: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        require_number("student.pruning.ratio", self.ratio, above=0, below=1)
        require_number("student.pruning.threshold", self.threshold, at_least=0, below=1)
        for name, low in (("num_steps", 1), ("batch_size", 1), ("round_to", 1), ("seed", 0)):
            if (value := getattr(self, name)) is not None or name != "num_steps":
                require_whole(f"student.pruning.{name}", value, low)

    def __call__(self, teacher: nn.Module, data: Dataset, process: Process) -> nn.Module:
        if not isinstance(teacher, UNet2DModel):
            raise ValueError(f"diff_pruning is for a UNet2DModel but got a {type(teacher).__name__}")
        model: Any = deepcopy(teacher).requires_grad_(True).eval()
        self._accumulate(model, data, process)
        _prune(model, data, self.ratio, self.round_to)
        config = {name: value for name, value in teacher.config.items() if not name.startswith("_")}
        student = PrunedUNet2DModel(widths=widths_of(model, teacher), **config)
        student.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
        return student

    def _accumulate(self, model: nn.Module, data: Dataset, process: Process) -> None:
        """Leaves the gradients of the diffusion loss in the parameters."""
        device = next(model.parameters()).device
        draw = derived_generator(self.seed, "diff pruning")
        x_0 = data.x_0(torch.randperm(len(data), generator=draw)[: self.batch_size])
        noise = torch.randn(x_0.shape, generator=draw)
        largest = 0.0
        for timestep in range(self.num_steps or process.num_timesteps):
            t = torch.full((len(x_0),), timestep)
            x_t, target = process.noised(x_0, noise, t).to(device), process.target(x_0, noise, t).to(device)
            loss = functional.mse_loss(model(x_t, process.model_time(t).to(device)).sample, target)
            torch.autograd.backward(loss)
            largest = max(largest, loss.item())
            if loss.item() < self.threshold * largest:
                break


def _prune(model: Any, data: Dataset, ratio: float, round_to: int) -> None:
    """Removes channels in place. Groups of norms and heads of attention bind none; both are set anew afterwards."""
    import torch_pruning  # takes seconds, and only who prunes needs it

    norms = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    groups = [norm.num_groups for norm in norms]
    head_dims = [attention.to_q.out_features // attention.heads for attention in attentions]
    for norm in norms:
        norm.num_groups = 1
    for attention in attentions:
        attention.heads = 1
    device = next(model.parameters()).device
    shape = data.shape.image
    example = {"sample": torch.zeros((1, *shape), device=device), "timestep": torch.ones(1, device=device).long()}
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupTaylorImportance(multivariable=False),
        pruning_ratio=ratio,
        pruning_ratio_dict=_ratios(model, ratio, round_to),
        ignored_layers=[model.conv_out],
    )
    pruner.step()
    model.zero_grad(set_to_none=True)
    for norm, num in zip(norms, groups, strict=True):
        norm.num_groups = _largest_divisor(norm.num_channels, num)
    for attention, dim in zip(attentions, head_dims, strict=True):
        inner = attention.to_q.out_features
        attention.heads = inner // dim if inner % dim == 0 else 1
    set_channels(model)


def _ratios(model: nn.Module, ratio: float, round_to: int) -> dict[nn.Module, float]:
    """Of every layer, so that a multiple of round_to is left; torch-pruning would round down, to nothing at times."""
    ratios: dict[nn.Module, float] = {}
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            num = module.weight.shape[0]
            left = -(-round(num * (1 - ratio), 6) // round_to) * round_to
            ratios[module] = 1 - min(left / num, 1.0)
    return ratios


def _largest_divisor(number: int, at_most: int) -> int:
    return next(divisor for divisor in range(min(at_most, number), 0, -1) if number % divisor == 0)

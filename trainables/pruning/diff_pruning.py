"""Diff-Pruning (Fang et al. 2023): a U-Net without the channels that its denoising needs least.

As the authors' CelebA code (VainF/Diff-Pruning) does it, which made the students and the smaller teachers of the paper.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import nn

from trainables.checks import require_number, require_whole
from trainables.data import Dataset, DataShape
from trainables.families.pruned_unet import PrunedUNet2DModel, set_channels, unpruned_config, widths_of
from trainables.process import Process
from trainables.seeds import derived_generator


@dataclass(frozen=True, kw_only=True)
class DiffPruning:
    """ratio: the part of every layer's channels that is removed.

    Channels are removed within each group of a GroupNorm (and each head of an attention), as many of every group and
    the least important ones of each, so that the number of groups and heads stays. The importance of a channel is the
    sum of (weight * gradient)^2 over all weights that go with it, and of |gamma * gradient| of its norms. The gradient
    is accumulated over the diffusion loss, summed over an image and averaged over one batch, at timesteps 0, 1, 2, ...,
    until the loss falls below `threshold` times the largest so far, or num_steps are done (null: all).
    """

    ratio: float
    threshold: float = 0.0
    num_steps: int | None = None
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        require_number("student.pruning.ratio", self.ratio, above=0, below=1)
        require_number("student.pruning.threshold", self.threshold, at_least=0, below=1)
        for name, low in (("num_steps", 1), ("batch_size", 1), ("seed", 0)):
            if (value := getattr(self, name)) is not None or name != "num_steps":
                require_whole(f"student.pruning.{name}", value, low)

    def __call__(self, teacher: nn.Module, data: Dataset, process: Process) -> nn.Module:
        model = _copy(teacher)
        self._accumulate(model, data, process)
        remove_channels(model, data.shape, self.ratio)
        student = _of_widths(model, teacher)
        student.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
        return student

    def without_weights(self, teacher: nn.Module, shape: DataShape) -> nn.Module:
        """A student of the same widths on the meta device: they follow from the teacher's widths alone."""
        model = _copy(teacher).to("meta")
        remove_channels(model, shape, self.ratio)
        with torch.device("meta"):
            return _of_widths(model, teacher)

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
            output = model(x_t, process.model_time(t).to(device)).sample
            loss = (output - target).square().sum(dim=(1, 2, 3)).mean()
            largest = max(largest, loss.item())
            if loss.item() < self.threshold * largest:
                break
            torch.autograd.backward(loss)


def remove_channels(model: Any, shape: DataShape, ratio: float) -> None:
    """Removes that part of the channels of every layer in place, by the gradients that the parameters hold.

    Without gradients the first channels go; the widths are the same.
    """
    import torch_pruning  # takes seconds, and only who prunes needs it

    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    groups = {layer: one.heads for one in attentions for layer in (one.to_q, one.to_k, one.to_v)}
    for attention in attentions:
        attention.heads = 1  # traced as one, so that channel i of a query goes with channel i of a key
    device = next(model.parameters()).device
    example = {"sample": torch.zeros((1, *shape.image), device=device)}
    graph = torch_pruning.DependencyGraph().build_dependency(
        model, example_inputs={**example, "timestep": torch.ones(1, device=device).long()}
    )
    roots = [nn.Conv2d, nn.Linear]
    for group in graph.get_all_groups(ignored_layers=[model.conv_out], root_module_types=roots):
        root = group[0].dep
        doomed = least_important(channel_importance(graph, group), _num_groups(group, groups), ratio)
        if doomed:
            graph.get_pruning_group(root.target.module, root.handler, doomed).prune()
    model.zero_grad(set_to_none=True)
    for attention in attentions:
        attention.heads = groups[attention.to_q]
    set_channels(model)


def channel_importance(graph: Any, group: Any) -> torch.Tensor:
    """(C,) of the channels of a Group of torch_pruning's graph: how much the loss hangs on each, to first order.

    sum over weights of (w * dL/dw)^2 of the layers that make or read the channel, and |gamma * dL/dgamma| of its norms.
    """
    total = torch.zeros(len(group[0].idxs))
    for member in group:
        layer, is_output = member.dep.target.module, graph.is_out_channel_pruning_fn(member.dep.handler)
        if not isinstance(layer, nn.Conv2d | nn.Linear | nn.GroupNorm) or layer.weight.grad is None:
            continue
        change = (layer.weight.detach() * layer.weight.grad).cpu()
        if isinstance(layer, nn.GroupNorm):
            importance = change.abs()
        else:
            importance = (change if is_output else change.transpose(0, 1)).flatten(1).square().sum(1)
        total.index_add_(0, torch.tensor(member.root_idxs), importance[member.idxs])
    return total


def least_important(importance: torch.Tensor, num_groups: int, ratio: float) -> list[int]:
    """Indices of the channels to remove: of each group equally many, the least important; one at least stays."""
    num = len(importance)
    num_removed = min((num - int(num * (1 - ratio))) // num_groups, num // num_groups - 1)
    order = importance.view(num_groups, -1).argsort(dim=1)[:, :num_removed]
    first = torch.arange(num_groups).view(-1, 1) * (num // num_groups)
    return (order + first).flatten().tolist()


def _num_groups(group: Any, heads: dict[nn.Module, int]) -> int:
    """Of the first norm or attention among the layers that share the channels."""
    layers = (member.dep.target.module for member in group)
    known = (layer.num_groups if isinstance(layer, nn.GroupNorm) else heads.get(layer) for layer in layers)
    return next((num for num in known if num), 1)


def _copy(teacher: nn.Module) -> Any:
    if not isinstance(teacher, UNet2DModel):
        raise ValueError(f"diff_pruning is for a UNet2DModel but got a {type(teacher).__name__}")
    return deepcopy(teacher).requires_grad_(True).eval()


def _of_widths(model: Any, teacher: Any) -> PrunedUNet2DModel:
    """A model as diffusers saves and builds it, of the widths that a narrowed copy of the teacher has."""
    config = unpruned_config(teacher)
    with torch.device("meta"):
        original = UNet2DModel(**config)
    return PrunedUNet2DModel(widths=widths_of(model, original), **config)

"""Feature distillation: what it hooks, what it compares.

A feature loss compares pairs of inner activations of student and teacher; `sub_block_names` says which modules.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

SUB_BLOCKS = (ResnetBlock2D, Attention, Downsample2D, Upsample2D)
ADAPTER_BOUND = 0.005


def sub_block_names(model: nn.Module) -> list[str]:
    """Names of a U-Net's sub-blocks (residual, attention, down- and upsampling blocks), in the order of definition."""
    return [name for name, module in model.named_modules() if isinstance(module, SUB_BLOCKS)]


def record_features(model: nn.Module, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """From now on every forward pass leaves the outputs (B, C, H, W) of the named modules in the mapping."""
    features: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            features[name] = output

        return hook

    modules = dict(model.named_modules())
    for name in names:
        modules[name].register_forward_hook(keep(name))
    return features


def make_adapters(
    student_features: Mapping[str, torch.Size], teacher_features: Mapping[str, torch.Size], generator: torch.Generator
) -> nn.ModuleList:
    """One bias-free 1x1 convolution per pair from student to teacher channels, weights U(-0.005, 0.005) (FitNet).

    Raises ValueError when the sub-blocks do not pair up one to one with equal heights and widths.
    """
    if list(student_features) != list(teacher_features):
        raise ValueError(
            "method: feature distillation pairs sub-blocks one to one, so student and teacher must have the same,"
            f" but they differ in {', '.join(sorted(set(student_features) ^ set(teacher_features))[:4])}"
        )
    adapters = nn.ModuleList()
    for name, (_, student_channels, *student_size) in student_features.items():
        _, teacher_channels, *teacher_size = teacher_features[name]
        if student_size != teacher_size:
            raise ValueError(
                f"method: features of {name} must be of one size but got {student_size} and {teacher_size}"
            )
        # skip_init: the layer's own initialisation would draw from the default generator
        adapter = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Conv2d, student_channels, teacher_channels, kernel_size=1, bias=False
        )
        nn.init.uniform_(adapter.weight, -ADAPTER_BOUND, ADAPTER_BOUND, generator=generator)
        adapters.append(adapter)
    return adapters


def fitnet_loss(
    student_features: Sequence[torch.Tensor], teacher_features: Sequence[torch.Tensor], *, reduction: str = "sum"
) -> torch.Tensor:
    """Sum over pairs of the squared difference, averaged over the batch (FitNet, Romero et al. 2015; method.md).

    Features are pairs of (B, C, H, W), the student's already mapped to the teacher's channels. `mean` divides each pair
    by its C*H*W.
    """
    losses = []
    for student, teacher in zip(student_features, teacher_features, strict=True):
        difference = (student - teacher).square()
        losses.append(difference.mean() if reduction == "mean" else difference.sum() / difference.shape[0])
    return torch.stack(losses).sum()

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
from torch.nn import functional

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


class Adapter(nn.Module):
    """A bias-free 1x1 convolution from student to teacher channels, as the matrix product that it is.

    Of the few channels of a small student that takes two thirds of a convolution's time on the CPU.
    """

    def __init__(self, num_inputs: int, num_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        weight = torch.empty((num_outputs, num_inputs))
        self.weight = nn.Parameter(weight.uniform_(-ADAPTER_BOUND, ADAPTER_BOUND, generator=generator))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        batch_size, _, *size = x_BCHW.shape
        mapped = torch.bmm(self.weight.expand(batch_size, -1, -1), x_BCHW.flatten(2))
        return mapped.view(batch_size, -1, *size)


def make_adapters(
    student_features: Mapping[str, torch.Size], teacher_features: Mapping[str, torch.Size], generator: torch.Generator
) -> nn.ModuleList:
    """One adapter per pair from student to teacher channels, weights U(-0.005, 0.005) (FitNet).

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
        adapters.append(Adapter(student_channels, teacher_channels, generator))
    return adapters


def fitnet_loss(
    student_features: Sequence[torch.Tensor], teacher_features: Sequence[torch.Tensor], *, reduction: str = "sum"
) -> torch.Tensor:
    """Sum over pairs of the squared difference, averaged over the batch (FitNet, Romero et al. 2015; method.md).

    Features are pairs of (B, C, H, W), the student's already mapped to the teacher's channels. `mean` divides each pair
    by its C*H*W.
    """
    pairs = zip(student_features, teacher_features, strict=True)
    return torch.stack([squared_error(student, teacher, reduction) for student, teacher in pairs]).sum()


def squared_error(output: torch.Tensor, target: torch.Tensor, reduction: str) -> torch.Tensor:
    """Sum of squared differences of (B, C, H, W), averaged over the batch; `mean` divides by C*H*W as well."""
    error = functional.mse_loss(output, target, reduction=reduction)
    return error if reduction == "mean" else error / output.shape[0]

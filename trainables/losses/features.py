"""Feature distillation: what it compares.

A feature loss compares pairs of inner activations of student and teacher; its FeatureLoss says of which modules.
Shapes: B batch, C channels, H height, W width, N tokens, D features of a token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from trainables import plugins
from trainables.checks import require_choice

ADAPTER_BOUND = 0.005
POINTS = ("sub_blocks", "blocks", "layers")  # of a family, which names the modules
MASK_STDS = 2.0
Shapes = Mapping[str, torch.Size]


def make_adapters(
    student_features: Sequence[torch.Size], teacher_features: Sequence[torch.Size], generator: torch.Generator
) -> nn.ParameterList:
    """One bias-free 1x1 convolution per pair of (B, C, H, W), from student to teacher channels (FitNet).

    Each is its matrix (teacher channels, student channels), with initial weights U(-0.005, 0.005).
    """
    pairs = zip(student_features, teacher_features, strict=True)
    weights = [torch.empty((teacher[1], student[1])) for student, teacher in pairs]
    return nn.ParameterList(weight.uniform_(-ADAPTER_BOUND, ADAPTER_BOUND, generator=generator) for weight in weights)


def fitnet_loss(
    student_features: Sequence[torch.Tensor],
    teacher_features: Sequence[torch.Tensor],
    adapters: Sequence[torch.Tensor],
    *,
    reduction: str = "sum",
) -> torch.Tensor:
    """Sum over pairs of || A s - t ||^2, averaged over the batch (FitNet, Romero et al. 2015).

    Features are pairs of (B, C_s, H, W) and (B, C_t, H, W), adapters A (C_t, C_s). `mean` divides each pair by
    C_t*H*W.
    """
    losses = []
    for student, teacher, adapter in zip(student_features, teacher_features, adapters, strict=True):
        loss = _AdaptedError.apply(student.flatten(2), teacher.flatten(2), adapter)  # type: ignore[no-untyped-call]
        losses.append(loss / (teacher.numel() if reduction == "mean" else len(teacher)))
    return torch.stack(losses).sum()


class _AdaptedError(torch.autograd.Function):
    """sum (A s - t)^2 of s (B, C_s, N), t (B, C_t, N), without ever making the wide A s.

    It is s' (A'A) s - 2 s' (A't) + t't, with gradients 2 (A'A s - A't) and 2 (A ss' - ts'): of the teacher's features,
    wide where the student's are narrow, each is one product with a narrow matrix. Three times as fast on the CPU as
    mapping, subtracting and squaring.
    """

    @staticmethod
    def forward(ctx: Any, s: torch.Tensor, t: torch.Tensor, adapter: torch.Tensor) -> torch.Tensor:
        mapped_back = torch.bmm(adapter.T.expand(len(t), -1, -1), t)  # A't (B, C_s, N)
        inner = torch.matmul(adapter.T @ adapter, s)  # A'A s
        ss, st = torch.bmm(s, s.mT).sum(0), torch.bmm(s, t.mT).sum(0)
        ctx.save_for_backward(2 * (inner - mapped_back), 2 * (adapter @ ss - st.T))
        return (s * (inner - 2 * mapped_back)).sum() + t.square().sum()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, torch.Tensor]:
        by_s, by_adapter = ctx.saved_tensors
        return grad * by_s, None, grad * by_adapter


def block_loss(
    student_features: Sequence[torch.Tensor],
    teacher_features: Sequence[torch.Tensor],
    _adapters: Sequence[torch.Tensor] = (),
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    """Sum over pairs of equal shape of the squared difference, averaged over the batch (BK-SDM, Kim et al. 2024)."""
    pairs = zip(student_features, teacher_features, strict=True)
    return torch.stack([squared_error(student, teacher, reduction) for student, teacher in pairs]).sum()


def masked_loss(
    student_features: Sequence[torch.Tensor],
    teacher_features: Sequence[torch.Tensor],
    _adapters: Sequence[torch.Tensor] = (),
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    """Squared differences of paired layers without their outliers (TinyFusion, Fang et al. 2025).

    An element (of N, D) further than 2 standard deviations from the mean of its sample is masked to zero, in the
    student by the student's outliers and in the teacher by the teacher's, as in the authors' code. Averaged over the
    batch and the layers; `mean` divides by N*D too.
    """
    pairs = zip(student_features, teacher_features, strict=True)
    return torch.stack([squared_error(_masked(one), _masked(other), reduction) for one, other in pairs]).mean()


def _masked(feature: torch.Tensor) -> torch.Tensor:
    """(B, ...) with zeros where an element is far from the mean of its sample; the mask has no gradient."""
    inner = tuple(range(1, feature.ndim))
    std, mean = torch.std_mean(feature.detach(), dim=inner, keepdim=True, correction=1)
    return feature * ((feature.detach() - mean).abs() <= MASK_STDS * std)


@dataclass(frozen=True)
class FeatureLoss:
    """points: the attribute of a family that names the modules. adapted: student channels are mapped to the teacher's,
    and modules of one name are pairs; else the family says which are. of_one_size: activations of a pair must have one
    shape, but for channels that are mapped.
    """

    points: str
    adapted: bool
    loss: Callable[..., torch.Tensor]
    of_one_size: bool = True

    def __post_init__(self) -> None:
        require_choice("points of a feature loss", self.points, POINTS)


# Those that come with the package; one of a user's is module:name.
FEATURE_LOSSES = {
    "fitnet": FeatureLoss("sub_blocks", True, fitnet_loss),
    "block": FeatureLoss("blocks", False, block_loss),
    "masked": FeatureLoss("layers", False, masked_loss),
}


@cache
def feature_loss(feature: str) -> FeatureLoss:
    """The feature loss of a name of the table, or of module:name: a FeatureLoss, or a function like block_loss, which
    is then given the blocks, of whatever size.
    """
    if feature in FEATURE_LOSSES:
        return FEATURE_LOSSES[feature]
    found = plugins.load("method.feature", feature)
    if not isinstance(found, FeatureLoss) and not callable(found):
        raise ValueError(f"method.feature={feature} must be a FeatureLoss or a function but is {found!r}")
    return found if isinstance(found, FeatureLoss) else FeatureLoss("blocks", False, found, of_one_size=False)


def pair_up(
    feature: str, student: Shapes, teacher: Shapes, pair: Callable[[list[str], list[str]], list[tuple[str, str]]]
) -> list[tuple[str, str]]:
    """Names of student and teacher modules, in pairs, by the shapes (1, ...) of what they give; `pair` is the family's.

    Raises ValueError when they cannot be compared.
    """
    adapted, of_one_size = feature_loss(feature).adapted, feature_loss(feature).of_one_size
    if adapted and list(student) != list(teacher):
        raise ValueError(
            "method: feature distillation pairs sub-blocks one to one, so student and teacher must have the same,"
            f" but they differ in {', '.join(sorted(set(student) ^ set(teacher))[:4])}"
        )
    if len(student) > len(teacher):
        raise ValueError(
            f"method.feature={feature} needs a teacher with at least as many layers as the student"
            f" but got {len(teacher)} and {len(student)}"
        )
    pairs = [(name, name) for name in student] if adapted else pair(list(student), list(teacher))
    start = 2 if adapted else 1
    for one, other in pairs if of_one_size else ():
        if student[one][start:] != teacher[other][start:]:
            sizes = f"{list(student[one][start:])} and {list(teacher[other][start:])}"
            raise ValueError(f"method: features of {one} must be of one size but got {sizes}")
    return pairs


def squared_error(output: torch.Tensor, target: torch.Tensor, reduction: str) -> torch.Tensor:
    """Sum of squared differences of (B, ...), averaged over the batch; `mean` divides by all that follows B as well."""
    error = functional.mse_loss(output, target, reduction=reduction)
    return error if reduction == "mean" else error / output.shape[0]

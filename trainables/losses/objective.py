"""One member's loss: the weighted sum of its diffusion, output and feature terms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trainables.losses.dist import dist_loss
from trainables.losses.features import feature_loss, squared_error
from trainables.losses.lift_place import LiftPlaceTerms, RankMean, lift_place_terms
from trainables.losses.methods import Method
from trainables.losses.own_loss import own_loss


@dataclass(frozen=True)
class Terms:
    """The loss that is minimised and its parts before their lambdas: scalar tensors, None where it does not apply."""

    loss: torch.Tensor
    loss_diff: torch.Tensor | None = None
    loss_out: torch.Tensor | None = None
    loss_feat: torch.Tensor | None = None
    gate: torch.Tensor | None = None
    slope_error: torch.Tensor | None = None
    intercept_error: torch.Tensor | None = None


def _mse(student: torch.Tensor, teacher: torch.Tensor, method: Method, **_: object) -> torch.Tensor:
    return squared_error(student, teacher, method.reduction)


def _dist(
    student: torch.Tensor, teacher: torch.Tensor, method: Method, *, rank_mean: RankMean | None, **_: object
) -> torch.Tensor:
    return dist_loss(student, teacher, reduction=method.reduction, rank_mean=rank_mean)


def _lift_place(
    student: torch.Tensor,
    teacher: torch.Tensor,
    method: Method,
    *,
    progress: float | torch.Tensor,
    rank_mean: RankMean | None,
) -> LiftPlaceTerms:
    assert method.group_size is not None
    assert method.coarse_norm is not None
    assert method.gate is not None
    assert method.eps is not None
    return lift_place_terms(
        student,
        teacher,
        group_size=method.group_size,
        coarse_norm=method.coarse_norm,
        gate=method.gate,
        eps=method.eps,
        reduction=method.reduction,
        progress=progress,
        rank_mean=rank_mean,
    )


def _own(
    student: torch.Tensor, teacher: torch.Tensor, method: Method, *, progress: float, rank_mean: RankMean | None
) -> torch.Tensor | LiftPlaceTerms:
    known = {"reduction": method.reduction, "progress": progress, "rank_mean": rank_mean, "method": method}
    return own_loss(method.output, student, teacher, known=known, own=dict(method.own))


# Those that come with the package; one of a user's is module:name (own_loss.py).
OUTPUT_LOSSES: dict[str, Callable[..., torch.Tensor | LiftPlaceTerms]] = {
    "mse": _mse,
    "lift": _lift_place,
    "lift_place": _lift_place,
    "dist": _dist,
}


def output_loss(method: Method) -> Callable[..., torch.Tensor | LiftPlaceTerms]:
    """(student, teacher, method, *, progress, rank_mean) -> scalar tensor, of outputs (B, C, H, W)."""
    return OUTPUT_LOSSES.get(method.output, _own)


def objective(
    method: Method,
    output: torch.Tensor,
    target: torch.Tensor | None,
    *,
    matching: torch.Tensor | None = None,
    teacher_output: torch.Tensor | None = None,
    student_features: Sequence[torch.Tensor] = (),
    teacher_features: Sequence[torch.Tensor] = (),
    adapters: Sequence[torch.Tensor] = (),
    variational: torch.Tensor | None = None,
    variational_to_teacher: torch.Tensor | None = None,
    progress: float | torch.Tensor = 0.0,
    rank_mean: RankMean | None = None,
) -> Terms:
    """L = lambda_diff * L_diff + lambda_out * L_output + lambda_feat * L_feat (trainables/README.md, The objective).

    output: the student's output (B, C, H, W); target: what diffusion training asks of it (the noise), None where there
    is no data to ask for it; matching (B,): which samples L_diff counts, the others being 0 in its mean over the batch;
    None: all. teacher_output: same shape; features: paired lists of (B, C_i, H_i, W_i) or (B, N_i, D_i),
    with an adapter each where the loss takes them. variational: the term of a learned variance, a part of L_diff;
    variational_to_teacher: that towards the teacher's variance, a part of L_output.
    progress and rank_mean as in `lift_place_terms`; lambda_feat may fall with progress.
    """
    loss, loss_diff = output.new_zeros(()), None
    if target is not None:
        counted = output.new_ones(()) if matching is None else matching.view(-1, 1, 1, 1)
        loss_diff = squared_error(output * counted, target * counted, method.reduction)
        if variational is not None:
            loss_diff = loss_diff + variational
        loss = method.lambda_diff * loss_diff
    loss_out = loss_feat = gate = slope_error = intercept_error = None
    if method.output != "none":
        result = output_loss(method)(output, teacher_output, method, progress=progress, rank_mean=rank_mean)
        if isinstance(result, LiftPlaceTerms):
            gate, slope_error, intercept_error = result.gate, result.slope_error, result.intercept_error
            result = result.loss
        loss_out = result if variational_to_teacher is None else result + variational_to_teacher
        assert method.lambda_out is not None
        loss = loss + method.lambda_out * loss_out
    if method.feature != "none":
        compare = feature_loss(method.feature).loss
        loss_feat = compare(student_features, teacher_features, adapters, reduction=method.reduction)
        assert method.lambda_feat is not None
        falling = 1 - progress if method.feat_schedule == "linear" else 1.0
        loss = loss + falling * method.lambda_feat * loss_feat
    return Terms(loss, loss_diff, loss_out, loss_feat, gate, slope_error, intercept_error)

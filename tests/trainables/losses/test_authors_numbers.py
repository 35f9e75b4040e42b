"""Losses and gradients against what the authors' published code gives on the same tensors.

The files in authors/ were made on the CPU in float32 by: Hyun-s/LIFT_PLACE 839a663 (lift_place_variants, fitnet,
tinyfusion_objective; its `logit` equals VainF/TinyFusion a147de7), facebookresearch/DiT ed81ce2 (vlb_learned_range) and
hunto/DIST_KD 2418f18 (dist_relations).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from study.benchmarks.plain_lift_place import relative_error
from trainables.losses.dist import dist_loss
from trainables.losses.features import fitnet_loss, masked_loss
from trainables.losses.lift_place import lift_place_terms
from trainables.losses.methods import Method
from trainables.losses.objective import objective
from trainables.losses.variational import variational_loss
from trainables.process import PIXEL

LOSS, GRADIENT = 1e-5, 1e-4  # relative
Numbers = Mapping[str, torch.Tensor]


def numbers(name: str) -> Numbers:
    with np.load(Path(__file__).parent / "authors" / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def leaf(value: torch.Tensor) -> torch.Tensor:
    return value.clone().requires_grad_()


# What a variant is called there, and what it is here. TinyFusion adds its eps of 1e-4 to the sum of squares of a group.
_PIXEL: dict[str, object] = {"group_size": 16, "eps": 1e-7, "reduction": "sum"}
VARIANTS: dict[str, dict[str, object]] = {
    "pixel LIFT_PLACE K16 l1": {**_PIXEL, "coarse_norm": "l1"},
    "pixel LIFT_PLACE K16 l2": {**_PIXEL, "coarse_norm": "l2"},
    "pixel LIFT (channel, patch_size=H*W) l1": {**_PIXEL, "coarse_norm": "l1", "group_size": 256},
    "pixel LIFT (channel, patch_size=H*W) l2": {**_PIXEL, "coarse_norm": "l2", "group_size": 256},
    "latent BK-SDM LIFT_PLACE K16 eps1e-8 l1": {"group_size": 16, "eps": 1e-8, "reduction": "mean"},
    "TinyFusion imp_reg K16 eps1e-4 l2": {
        "group_size": 16,
        "eps": 1e-4 / 16,
        "reduction": "mean",
        "coarse_norm": "l2",
    },
    **{
        f"pixel abl gate {theirs} step 100000/500000": {**_PIXEL, "gate": ours, "progress": 0.2}
        for theirs, ours in (("True", "adaptive"), ("False", "constant"), ("cosine", "cosine"), ("linear", "linear"))
    },
}


@pytest.mark.parametrize("distance", ["far", "near"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_lift_and_place(variant: str, distance: str) -> None:
    theirs = numbers("lift_place_variants")
    student = leaf(theirs[f"{distance}/student"])
    loss = lift_place_terms(student, theirs[f"{distance}/teacher"], **VARIANTS[variant]).loss  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(theirs[f"{distance}/{variant}/loss"].item(), rel=LOSS)
    assert relative_error(gradient, theirs[f"{distance}/{variant}/grad"]) < GRADIENT


@pytest.mark.parametrize("distance", ["far", "near"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_lift_of_the_authors_default_weighs_the_coarse_part_by_32_elements(norm: str, distance: str) -> None:
    """Their patch_size stays 32 unless it is given, also where the line is fitted to all of a channel."""
    theirs = numbers("lift_place_variants")
    student, teacher = leaf(theirs[f"{distance}/student"]), theirs[f"{distance}/teacher"]
    settings = {**_PIXEL, "group_size": 256, "coarse_norm": norm}
    full, coarse = (lift_place_terms(student, teacher, **settings, part=part).loss for part in ("full", "coarse"))  # type: ignore[arg-type]
    loss = full + (32 / 256 - 1) * coarse
    (gradient,) = torch.autograd.grad(loss, student)
    key = f"{distance}/pixel LIFT (channel, default patch_size=32) {norm}"
    assert loss.item() == pytest.approx(theirs[f"{key}/loss"].item(), rel=LOSS)
    assert relative_error(gradient, theirs[f"{key}/grad"]) < GRADIENT


def test_dist() -> None:
    theirs = numbers("dist_relations")
    student = leaf(theirs["student"])
    loss = dist_loss(student, theirs["teacher"], reduction="mean")
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(theirs["inter_plus_intra"].item(), rel=LOSS)
    assert relative_error(gradient, theirs["grad_student"]) < GRADIENT


def test_fitnet() -> None:
    theirs = numbers("fitnet")
    leaves = {kind: [leaf(theirs[f"{kind}_{index}"]) for index in range(3)] for kind in ("student", "adapter")}
    loss = fitnet_loss(leaves["student"], [theirs[f"teacher_{index}"] for index in range(3)], leaves["adapter"])
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(theirs["loss"].item(), rel=LOSS)
    for kind, some in leaves.items():
        for index, one in enumerate(some):
            assert one.grad is not None
            assert relative_error(one.grad, theirs[f"grad_{kind}_{index}"]) < GRADIENT


def test_the_variational_term() -> None:
    theirs = numbers("vlb_learned_range")
    variance = leaf(theirs["variance"])

    def loss(rows: slice) -> torch.Tensor:
        given = {key: theirs[key][rows] for key in ("x_0", "x_t", "t")}
        return variational_loss(PIXEL, theirs["prediction"][rows], variance[rows], **given, reduction="mean")

    (gradient,) = torch.autograd.grad(loss(slice(None)), variance)
    assert loss(slice(None)).item() == pytest.approx(theirs["vb_mean"].item(), rel=LOSS)
    assert relative_error(gradient, theirs["grad_variance"]) < GRADIENT
    by_sample = torch.stack([loss(slice(index, index + 1)) for index in range(len(theirs["t"]))])
    torch.testing.assert_close(by_sample, theirs["vb_per_sample"], rtol=LOSS, atol=1e-7)


OUTPUTS = {
    "logit": Method(name="out_kd", output="mse", feature="masked", lambda_diff=0.1, lambda_out=0.9, lambda_feat=1e-2,
                    reduction="mean"),
    "LIFT_PLACE": Method(name="lift_place", output="lift_place", feature="masked", lambda_diff=0.1, lambda_out=0.9,
                         lambda_feat=1e-2, reduction="mean", group_size=16, coarse_norm="l2", gate="adaptive",
                         eps=1e-4 / 16),
}  # fmt: skip


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_objective_of_tinyfusion(output: str) -> None:
    """Each term, the sum, and its gradients: the variance is drawn to the data's and to the teacher's."""
    theirs = numbers(f"tinyfusion_objective_{output}")
    student, teacher = leaf(theirs["student_output"]), theirs["teacher_output"].split(4, dim=1)
    features = [leaf(theirs[f"student_feature_{index}"]) for index in range(2)]
    teacher_features = [theirs[f"teacher_feature_{index}"] for index in range(2)]
    x_t = PIXEL.noised(theirs["x_0"], theirs["noise"], theirs["t"])
    prediction, variance = student.split(4, dim=1)
    given = {"x_0": theirs["x_0"], "x_t": x_t, "t": theirs["t"], "reduction": "mean"}
    vb = variational_loss(PIXEL, prediction, variance, **given)  # type: ignore[arg-type]
    vb_kd = variational_loss(PIXEL, prediction, variance, **given, teacher=teacher)  # type: ignore[arg-type]
    terms = objective(
        OUTPUTS[output], prediction, theirs["noise"], teacher_output=teacher[0], student_features=features,
        teacher_features=teacher_features, variational=vb, variational_to_teacher=vb_kd,
    )  # fmt: skip
    terms.loss.backward()  # type: ignore[no-untyped-call]
    assert vb.item() == pytest.approx(theirs["vb"].mean().item(), rel=LOSS)
    assert vb_kd.item() == pytest.approx(theirs["vb_kd"].mean().item(), rel=LOSS)
    for ours, key in ((terms.loss_diff, "gt"), (terms.loss_out, "kd_loss"), (terms.loss_feat, "feat_loss")):
        assert ours is not None
        assert ours.item() == pytest.approx(theirs[key].mean().item(), rel=LOSS)
    assert masked_loss(features, teacher_features).item() == pytest.approx(theirs["feat_loss"].mean().item(), rel=LOSS)
    assert terms.loss.item() == pytest.approx(theirs["loss"].mean().item(), rel=LOSS)
    for one, key in zip([student, *features], ("output", "feature_0", "feature_1"), strict=True):
        assert one.grad is not None
        assert relative_error(one.grad, theirs[f"grad_student_{key}"]) < GRADIENT

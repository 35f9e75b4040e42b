"""Members trained as one program come out as those that were trained one by one."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import family_models
import pytest
import torch
from tiny import member as tiny_member
from tiny import train_spec

from trainables.data import Dataset
from trainables.data.digits import Digits
from trainables.losses.methods import METHODS
from trainables.models import build_model
from trainables.models.saved import TrainedStudent
from trainables.ranks import Ranks
from trainables.specs import Member, Rung
from trainables.training.checkpoints import Checkpoints
from trainables.training.execution import Execution
from trainables.training.pack import Progress, train_pack
from trainables.training.trainee import Trainee

FUSED, PLAIN = Execution(fused=True), Execution(fused=False)
STUDENT = replace(family_models.UNET, config=family_models.UNET.config | {"block_out_channels": [4]})
TEACHER = replace(family_models.UNET, config=family_models.UNET.config | {"block_out_channels": [8]})
DOUBLE = train_spec(steps=20, batch_size=4, precision="float64", lr_schedule="cosine")
SHORT = train_spec(steps=4, batch_size=4)


def member(method: str, **settings: object) -> Member:
    return tiny_member(method, **{"student": STUDENT, **settings})


def trained(
    members: Sequence[Member], execution: Execution, data: Dataset | None = None, **settings: object
) -> list[TrainedStudent]:
    data = data or Digits().load()
    teacher = build_model(settings.pop("teacher", TEACHER), data.shape, seed=100)
    teacher = teacher.to(getattr(torch, members[0].train.precision)).eval().requires_grad_(False)
    common = {"initial": Path(), "device": torch.device("cpu"), "ranks": Ranks(), "progress": Progress()}
    return train_pack(members, teacher, data, execution=execution, **{**common, **settings})


def assert_alike(fused: Sequence[TrainedStudent], plain: Sequence[TrainedStudent], tolerance: float = 1e-5) -> None:
    for one, other in zip(fused, plain, strict=True):
        assert one.fused
        assert (one.diverged_at_step, one.stopped_at_step) == (other.diverged_at_step, other.stopped_at_step)
        for mine, its in zip(one.curve, other.curve, strict=True):
            assert mine == pytest.approx(its, rel=tolerance, abs=1e-9)
        if other.model is not None:
            assert one.model is not None
            for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
                assert float((a - b).norm()) <= tolerance * float(b.norm()) + 1e-9


def test_every_method_has_the_numbers_of_members_alone() -> None:
    members = [member(name, train=DOUBLE) for name in METHODS]
    adamw = replace(DOUBLE, lr=5e-4, optimiser="adamw", weight_decay=0.1, ema_decay=0.5)
    members += [
        member("lift_place", train=adamw, gate="cosine"),
        member("lift", train=replace(DOUBLE, max_grad_norm=0.01), coarse_norm="l2", gate="linear"),
        member("lift_place_feat", train=DOUBLE, feature="block", feat_schedule="linear", student=TEACHER, seed=1),
    ]
    assert_alike(trained(members, FUSED), trained(members, PLAIN))


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(family_models.ALL))
def test_every_family_has_the_numbers_of_members_alone(name: str) -> None:
    spec = family_models.ALL[name]
    train = replace(DOUBLE, steps=2)
    methods = ("out_kd", "lift_place", "diffusion_only")
    members = [member(method, train=train, student=spec) for method in methods]
    members += [
        member("out_feat_kd", train=train, student=spec, feature="block", lambda_feat=weight) for weight in (1, 2)
    ]
    data, teacher = family_models.data_for(spec), spec
    fused, plain = (trained(members, execution, data, teacher=teacher) for execution in (FUSED, PLAIN))
    assert_alike(fused, plain)


def test_data_free_members_learn_the_same() -> None:
    train = replace(DOUBLE, steps=3, inputs="data_free", pool_batches=2, pool_steps=4)
    members = [member(name, train=train) for name in ("out_kd", "lift_place")]
    assert_alike(trained(members, FUSED), trained(members, PLAIN))


def test_in_bf16_losses_and_weights_are_float32_and_near_those_of_members_alone() -> None:
    train = replace(SHORT, matmul="bf16")
    members = [member(name, train=train) for name in ("out_kd", "lift_place_feat")]
    fused = trained(members, FUSED)
    assert_alike(fused, trained(members, PLAIN), tolerance=0.02)
    exact = trained([replace(one, train=SHORT) for one in members], FUSED)
    assert fused[0].curve[-1]["loss"] != exact[0].curve[-1]["loss"]
    assert fused[0].curve[-1]["loss"] == pytest.approx(exact[0].curve[-1]["loss"], rel=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in fused[0].model.parameters())


def test_a_member_that_diverges_is_left_out_and_its_mates_go_on() -> None:
    mates = [member("diffusion_only", train=SHORT), member("lift_place_feat", train=SHORT)]
    lost = [member("out_kd", train=SHORT, lambda_out=weight) for weight in (1e38, 1e20)]
    outcomes = trained([mates[0], *lost, mates[1]], FUSED)
    assert [outcome.diverged_at_step for outcome in outcomes] == [None, 0, 0, None]
    assert_alike([outcomes[0], outcomes[3]], trained(mates, PLAIN), tolerance=1e-3)
    assert outcomes[1].model is None


def test_a_member_that_diverges_on_the_way_poisons_no_mate(monkeypatch: pytest.MonkeyPatch) -> None:
    train = replace(DOUBLE, steps=6)
    members = [member("out_kd", train=train, lambda_out=weight) for weight in (1.0, 2.0, 3.0)]
    plain, loss = trained(members, PLAIN), Trainee.loss

    def poisoned(self: Trainee, *args: object, **kwargs: object) -> object:
        terms, seen = loss(self, *args, **kwargs)
        if self.member == members[1] and len(self.curve) == 3:
            terms = replace(terms, loss=terms.loss * math.nan)
        return terms, seen

    monkeypatch.setattr(Trainee, "loss", poisoned)
    outcomes = trained(members, FUSED)
    assert [outcome.diverged_at_step for outcome in outcomes] == [None, 3, None]
    assert_alike([outcomes[0], outcomes[2]], [plain[0], plain[2]])


def test_a_stopped_member_keeps_its_weights() -> None:
    train = replace(DOUBLE, steps=4)
    rung = (Rung(step=2, num_images=4, threshold=1.0),)
    members = [replace(member("out_kd", train=train), rungs=rung), member("lift", train=train)]
    fused, plain = (trained(members, execution, measure=lambda *_: 2.0) for execution in (FUSED, PLAIN))
    assert [outcome.stopped_at_step for outcome in fused] == [2, None]
    assert_alike(fused, plain)


class _Lost(Exception):  # noqa: N818
    """The worker is gone."""


def test_training_goes_on_from_a_checkpoint_to_the_bit(tmp_path: Path) -> None:
    members = [member(name, train=SHORT) for name in ("lift_place_feat", "out_kd")]
    checkpoints = Checkpoints(tmp_path / "pack", 0)

    def lose(steps: int) -> None:
        if steps == 3:
            raise _Lost

    with pytest.raises(_Lost):
        trained(members, FUSED, checkpoints=checkpoints, progress=Progress(lose, interval_seconds=0.0))
    resumed = trained(members, FUSED, checkpoints=checkpoints)
    assert [one.digest for one in resumed] == [one.digest for one in trained(members, FUSED)]
    assert resumed[0].curve[0]["step"] == 0
    assert [point["step"] for point in resumed[0].curve] == [0, 1, 2, 3]


def test_a_checkpoint_of_a_fused_pack_is_for_fused_packs(tmp_path: Path) -> None:
    members, checkpoints = [member("out_kd", train=SHORT)], Checkpoints(tmp_path / "pack", 0)
    trained(members, FUSED, checkpoints=checkpoints)
    assert list((tmp_path / "pack").glob("step-*"))
    assert trained(members, PLAIN, checkpoints=checkpoints)[0].digest == trained(members, PLAIN)[0].digest


def test_a_student_with_dropout_is_trained_alone() -> None:
    members = [
        member("out_kd", train=SHORT, student=replace(STUDENT, config=STUDENT.config | {"dropout": 0.5})),
        member("lift", train=SHORT),
    ]
    outcomes = trained(members, FUSED)
    assert [outcome.fused for outcome in outcomes] == [False, True]
    assert outcomes[0].digest == trained(members[:1], PLAIN)[0].digest

"""A training can be looked at: every step is counted once, and what is looked at comes out the same."""

import time
from functools import cache
from pathlib import Path

import pytest
import torch
from tiny import SHAPE, member, unet

from trainables.data.digits import Digits
from trainables.models import build_model
from trainables.models.saved import TrainedStudent
from trainables.ranks import Ranks
from trainables.training.pack import Progress, train_pack
from trainables.training.watch import Sight, Watch

MEMBERS = (member("diffusion_only"), member("out_kd"), member("lift_place"))


def trained(watch: Watch | None) -> list[TrainedStudent]:
    teacher = build_model(unet(8), SHAPE, seed=100).eval().requires_grad_(False)
    return train_pack(
        MEMBERS, teacher, Digits().load(), initial=Path(), device=torch.device("cpu"), ranks=Ranks(),
        progress=Progress(), watch=watch,
    )  # fmt: skip


@cache
def looked_at(interval_seconds: float) -> tuple[list[Sight], list[TrainedStudent], float]:
    sights: list[Sight] = []
    started = time.monotonic()
    outcomes = trained(Watch(sights.append, interval_seconds))
    return sights, outcomes, time.monotonic() - started


@pytest.mark.parametrize("interval_seconds", [0.0, 3600.0])
def test_every_step_of_every_member_is_shown_once(interval_seconds: float) -> None:
    sights, outcomes, wall_seconds = looked_at(interval_seconds)
    steps = MEMBERS[0].train.steps
    assert len(sights) == (steps if interval_seconds == 0.0 else 1)
    for index, one in enumerate(MEMBERS):
        shown = [found for sight in sights for found in sight.members if found.member == one]
        assert sum(found.num_steps for found in shown) == steps
        assert shown[-1].point == outcomes[index].curve[-1]
    assert 0 < sum(sight.teacher_seconds for sight in sights) < sum(sight.seconds for sight in sights) <= wall_seconds


def test_a_look_changes_no_bit() -> None:
    unseen = trained(None)
    assert [one.digest for one in looked_at(0.0)[1]] == [one.digest for one in unseen]
    assert [one.curve for one in looked_at(0.0)[1]] == [one.curve for one in unseen]


def test_a_pack_says_how_many_images_went_through_its_models() -> None:
    images = MEMBERS[0].train.steps * MEMBERS[0].train.batch_size
    for one in trained(None):
        assert one.speed is not None
        assert (one.speed.teacher_images, one.speed.member_images) == (images, 3 * images)
        assert 0 < one.speed.seconds < 60

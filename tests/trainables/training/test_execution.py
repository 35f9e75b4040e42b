"""Settings of execution change neither members nor their weights."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import SHAPE, member, train_spec, unet

from trainables.data.digits import Digits
from trainables.models import build_model
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training.execution import Execution
from trainables.training.pack import Progress, train_pack

TRAIN = train_spec(steps=4, batch_size=4, lr_schedule="cosine")
MEMBERS = (member("lift_place_feat", train=TRAIN), member("out_kd", train=TRAIN), member("lift", train=TRAIN, seed=1))


def digests(execution: Execution, members: Sequence[Member] = MEMBERS) -> list[str | None]:
    outcomes = train_pack(
        members,
        build_model(unet(8), SHAPE, seed=100).eval().requires_grad_(False),
        Digits().load(),
        initial=Path(),
        device=torch.device("cpu"),
        ranks=Ranks(),
        progress=Progress(),
        execution=execution,
    )
    return [outcome.digest for outcome in outcomes]


@pytest.fixture(scope="module")
def plain() -> list[str | None]:
    return digests(Execution())


def test_batches_drawn_ahead_give_the_same_weights(plain: list[str | None]) -> None:
    assert digests(Execution(prefetch=3)) == plain


def test_batches_are_drawn_ahead_on_a_gpu_and_by_wish() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert (Execution().batches_ahead(gpu), Execution().batches_ahead(cpu)) == (2, 0)
    assert (Execution(prefetch=0).batches_ahead(gpu), Execution(prefetch=5).batches_ahead(cpu)) == (0, 5)


@pytest.mark.parametrize("value", [-1, 1.5, "two"])
def test_a_bad_setting_is_refused_by_its_key(value: object) -> None:
    with pytest.raises(ValueError, match=r"pack.prefetch must be a whole number from 0 to 100 but got"):
        Execution(prefetch=value)  # type: ignore[arg-type]

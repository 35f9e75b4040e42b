"""Contract tests pass what holds, and each fails on what does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from own_code import own_modules

from trainables.contracts import check
from trainables.contracts.losses import check_output_loss
from trainables.losses.lift_place import GATES
from trainables.losses.methods import define_method, make_method

BAD = """
import torch


def no_mean(student, teacher):
    return (student - teacher).square().sum()


def of_the_batch(student, teacher):
    return (student - teacher - (student - teacher).mean(0)).square().sum() / len(student)


def of_all_ranks(student, teacher, *, rank_mean):
    error = student - teacher
    mean = error.mean(0).detach() if rank_mean is None else rank_mean(error.mean(0))
    return (error - mean).square().sum() / len(student)


def in_place(student, teacher):
    loss = (student - teacher).square().sum() / len(student)
    teacher.mul_(2)
    return loss


def root(student, teacher):
    return (student - teacher).square().flatten(1).sum(1).sqrt().mean()


def away(student, teacher):
    return -(student - teacher).square().sum() / len(student)


def drawn(student, teacher):
    return (student - teacher + torch.randn_like(student)).square().sum() / len(student)


def tiny(student, teacher):
    return (student - teacher).square().mean() * 1e-3


def vector(student, teacher):
    return (student - teacher).square().flatten(1).sum(1)


def blind(student, teacher):
    return (student.detach() - teacher).square().sum() / len(student) + 0 * student.sum()
"""
MODELS = """
from dataclasses import replace

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from trainables.families import Family


class Stack(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, width: int = 4, channels: int = 1):
        super().__init__()
        self.one, self.other = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x):
        return self.other(self.one(x).relu())


def call(model, x_t, time, condition):
    return model(x_t)


FAMILY = Family(
    model_class=Stack,
    pipeline="DDPMPipeline",
    component="unet",
    config=lambda shape: {"channels": shape.image[0]},
    call=call,
    blocks=lambda model: ["one"],
)
WRONG = replace(FAMILY, call=lambda model, x_t, time, condition: model(x_t)[..., :-1])
"""


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path) -> Iterator[None]:
    with own_modules(tmp_path, bad=BAD, models=MODELS):
        yield


def failed(path: str, **settings: object) -> set[str]:
    return {finding.contract for finding in check(path, settings)[1] if finding.holds is False}


def test_what_holds_passes() -> None:
    assert failed("losses_of_mine:cosine") == set()
    assert failed("losses_of_mine:cosine", reduction="mean") == set()
    assert failed("losses_of_mine:blocks") == set()
    assert failed("bad_of_mine:of_all_ranks") == set()
    assert failed("data_of_mine:Stripes", width=2) == set()
    assert failed("features_of_mine:Net", size=8) == set()
    assert failed("models_of_mine:FAMILY", config={"width": 6}, size=8) == set()
    assert failed("diffusers:DDIMScheduler") == set()


@pytest.mark.parametrize(
    ("name", "contracts"),
    [
        ("no_mean", {"two ranks equal one"}),
        ("of_the_batch", {"two ranks equal one"}),
        ("in_place", {"gradient", "the same twice"}),
        ("root", {"at the teacher"}),
        ("away", {"least at the teacher"}),
        ("drawn", {"the same twice", "two ranks equal one"}),
        ("tiny", {"scale"}),
        ("blind", {"gradient", "scale"}),
    ],
)
def test_each_contract_fails_on_what_breaks_it(name: str, contracts: set[str]) -> None:
    assert contracts <= failed(f"bad_of_mine:{name}")


def test_a_loss_that_is_no_scalar_fails_them_all() -> None:
    assert failed("bad_of_mine:vector") >= {"shapes", "gradient", "scale"}


def test_the_scale_counts_lambda_out() -> None:
    assert "scale" not in failed("bad_of_mine:tiny", lambda_out=1e5)


@pytest.mark.parametrize("name", ["lift_place", "dist"])
def test_the_losses_that_come_with_the_package_hold_them(name: str) -> None:
    """All but the last: LIFT's coarse part has another scale, and is meant to."""
    recipe = {
        "lambda_out": 1.0,
        "reduction": "sum",
        "group_size": 16,
        "coarse_norm": "l1",
        "gate": GATES[0],
        "eps": 1e-7,
    }
    method = make_method(name, recipe, num_elements=64)
    found = {finding.contract: finding for finding in check_output_loss(method)}
    assert {name for name, one in found.items() if one.holds is False} <= {"scale"}
    assert found["two ranks equal one"].holds


def test_a_family_whose_output_is_no_image_fails() -> None:
    assert "output" in failed("models_of_mine:WRONG", size=8)


def test_what_it_is_none_of_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"check: losses_of_mine:torch must be one of output loss, .*, sampler but is <"
    ):
        check("losses_of_mine:torch", {})
    with pytest.raises(ValueError, match=r"settings of a sampler has no key 'size'; allowed: none"):
        check("diffusers:DDIMScheduler", {"size": 8})
    with pytest.raises(ValueError, match=r"reduction must be one of .* but got 'max'"):
        check("losses_of_mine:blocks", {"reduction": "max"})
    assert define_method("mine", "losses_of_mine:cosine", None).feature == "none"

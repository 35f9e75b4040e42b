"""Settings of execution change neither members nor their weights."""

from collections.abc import Sequence
from pathlib import Path

import family_models
import pytest
import torch
from tiny import SHAPE, member, train_spec, unet

from trainables.data.digits import Digits
from trainables.losses.methods import METHODS
from trainables.models import build_model
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training.adapted_student import AdaptedStudent
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


KINDS = tuple(
    member(name, student=unet(4), train=train_spec(steps=4, batch_size=8, precision="float64", lr_schedule="cosine"))
    for name in METHODS
)


def weights(execution: Execution, members: Sequence[Member] = KINDS) -> list[torch.Tensor]:
    outcomes = train_pack(
        members,
        build_model(unet(8), SHAPE, seed=100).double().eval().requires_grad_(False),
        Digits().load(),
        initial=Path(),
        device=torch.device("cpu"),
        ranks=Ranks(),
        progress=Progress(),
        execution=execution,
    )
    models = [outcome.model for outcome in outcomes]
    return [torch.cat([one.flatten() for one in model.parameters()]) for model in models if model is not None]


@pytest.fixture(scope="module")
def whole() -> list[torch.Tensor]:
    return weights(Execution())


def test_accumulated_gradients_are_those_of_the_whole_batch_for_every_method(whole: list[torch.Tensor]) -> None:
    parts = weights(Execution(gradient_accumulation=4))
    assert len(parts) == len(whole) == len(METHODS)
    for one, other in zip(parts, whole, strict=True):
        assert (one - other).norm() / other.norm() < 1e-12


def test_checkpointed_activations_change_nothing(whole: list[torch.Tensor]) -> None:
    again = weights(Execution(activation_checkpointing=True))
    assert all(torch.equal(one, other) for one, other in zip(again, whole, strict=True))


def saved_bytes(execution: Execution) -> int:
    """What a student's forward pass keeps for the backward pass."""
    student = build_model(unet(8), SHAPE, seed=0)
    module = AdaptedStudent(student, "none", {}, SHAPE, 0, execution=execution).train()
    own, kept = {id(one) for one in module.parameters()}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in own:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output, _ = module(torch.randn(8, *SHAPE.image), torch.arange(8), {})
    assert output.requires_grad
    return sum(kept.values())


def test_both_keep_less_for_the_backward_pass() -> None:
    plain = saved_bytes(Execution())
    assert saved_bytes(Execution(gradient_accumulation=4)) < 0.1 * plain
    assert saved_bytes(Execution(activation_checkpointing=True)) < 0.7 * plain


def test_dropout_draws_the_same_in_both_passes() -> None:
    """The gradient of outputs that were computed twice is that of one mask: the numerical one."""
    torch.manual_seed(0)
    module = AdaptedStudent(
        build_model(unet(4, dropout=0.5), SHAPE, seed=0).double(),
        "none",
        {},
        SHAPE,
        0,
        execution=Execution(gradient_accumulation=2),
    )
    module.train()
    x_t = torch.randn(4, *SHAPE.image, dtype=torch.float64)
    parameter = next(module.parameters())

    def loss() -> torch.Tensor:
        torch.manual_seed(7)
        return module(x_t, torch.arange(4), {})[0].square().sum()  # type: ignore[no-any-return]

    loss().backward()
    assert parameter.grad is not None
    found, step = float(parameter.grad.flatten()[0]), 1e-6
    with torch.no_grad():
        flat = parameter.view(-1)
        flat[0] += step
        above = float(loss())
        flat[0] -= 2 * step
        below = float(loss())
    assert abs((above - below) / (2 * step) - found) < 1e-5 * max(1.0, abs(found))


@pytest.mark.parametrize("name", family_models.ALL)
def test_every_family_has_the_gradients_of_the_whole_batch(name: str) -> None:
    spec = family_models.ALL[name]
    data = family_models.data_for(spec)
    indices = torch.arange(4)
    x_t, condition = data.x_0(indices).double(), data.condition(indices)
    condition = {key: value.double() if value.is_floating_point() else value for key, value in condition.items()}

    def gradients(execution: Execution) -> torch.Tensor:
        student = build_model(spec, data.shape, seed=0).double()
        module = AdaptedStudent(student, "none", {}, data.shape, 0, execution=execution).train()
        module(x_t, indices, condition)[0].square().sum().backward()
        return torch.cat([one.grad.flatten() for one in module.parameters() if one.grad is not None])

    whole = gradients(Execution())
    parts = gradients(Execution(gradient_accumulation=2, activation_checkpointing=True))
    assert (parts - whole).norm() < 1e-12 * whole.norm()

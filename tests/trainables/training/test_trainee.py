"""Training of one member, against a plain reading with torch's own optimisers and no flat parameters."""

import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial

import pytest
import torch
from tiny import SHAPE, member, train_spec, unet
from torch import nn

from trainables.data.digits import Digits
from trainables.data.streams import Batch, SeedStream
from trainables.families.unet import sub_block_names
from trainables.losses.features import Shapes, make_adapters
from trainables.losses.objective import objective
from trainables.models import build_model
from trainables.models.digest import weights_digest
from trainables.process import PIXEL
from trainables.ranks import Ranks
from trainables.seeds import derived_generator
from trainables.specs import Member
from trainables.training.adapted_student import feature_shapes
from trainables.training.loop import train_members
from trainables.training.optimiser import flatten_parameters, learning_rate
from trainables.training.recorded_features import record_features
from trainables.training.trainee import Trainee

CPU = torch.device("cpu")


def frozen_teacher(dtype: torch.dtype = torch.float64) -> nn.Module:
    return build_model(unet(8), SHAPE, seed=100).to(dtype).eval().requires_grad_(False)


def new_trainee(one: Member, teacher_features: Mapping[str, Shapes]) -> Trainee:
    new_student = partial(build_model, one.student, SHAPE, seed=one.seed)
    return Trainee(one, new_student, SHAPE, teacher_features=teacher_features, device=CPU, ranks=Ranks())


def train(members: Sequence[Member], teacher: nn.Module) -> list[Trainee]:
    """Trains the members side by side on the digits."""
    features = record_features(teacher, sub_block_names(teacher))
    shapes = {"fitnet": feature_shapes(teacher, SHAPE, features)}
    trainees = [new_trainee(one, shapes) for one in members]
    train_members(trainees, teacher, features, Digits().load(), device=CPU, ranks=Ranks(), progress=lambda _: None)
    return trainees


def train_plainly(one: Member, teacher: nn.Module) -> tuple[nn.Module, list[float]]:
    """The recipe written out: the EMA student and the gradient norm of every step before clipping."""
    spec = one.train
    student = build_model(one.student, SHAPE, seed=one.seed).double().train()
    names = sub_block_names(student)
    student_features, teacher_features = (record_features(model, names) for model in (student, teacher))
    shapes = [
        feature_shapes(*pair) for pair in ((student, SHAPE, student_features), (teacher, SHAPE, teacher_features))
    ]
    adapters = make_adapters(
        *(list(some.values()) for some in shapes), derived_generator(one.seed, "adapters")
    ).double()
    has_features = one.method.feature != "none"
    parameters = [*student.parameters(), *(adapters.parameters() if has_features else ())]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.optimiser]
    optimiser = kind(parameters, lr=spec.lr, weight_decay=spec.weight_decay)
    ema = copy.deepcopy(student)
    stream = SeedStream(
        Digits().load(),
        PIXEL,
        seed=one.seed,
        batch_size=spec.batch_size,
        timesteps=spec.timesteps,
        ranks=Ranks(),
    )
    norms = []
    for step in range(spec.steps):
        batch = stream.batch(step)
        x_t = batch.x_t.double()
        output, target = student(x_t, batch.t).sample, teacher(x_t, batch.t).sample
        pairs = {
            "student_features": [student_features[name] for name in shapes[0]],
            "adapters": list(adapters),
            "teacher_features": [teacher_features[name] for name in shapes[0]],
        }
        loss = objective(
            one.method, output, batch.target.double(), teacher_output=target, **(pairs if has_features else {})
        ).loss
        optimiser.zero_grad()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(student.parameters(), spec.max_grad_norm).item())
        if spec.lr_schedule == "cosine":
            optimiser.param_groups[0]["lr"] = spec.lr * 0.5 * (1 + math.cos(math.pi * step / spec.steps))
        optimiser.step()
        decay = min(spec.ema_decay, (1 + step) / (10 + step)) if spec.ema_warmup else spec.ema_decay
        with torch.no_grad():
            for kept, current in zip(ema.parameters(), student.parameters(), strict=True):
                kept.copy_(decay * kept + (1 - decay) * current)
    return ema, norms


@pytest.mark.parametrize("method", ["diffusion_only", "lift_place_feat"])
@pytest.mark.parametrize(
    "recipe",
    [
        {"optimiser": "adam", "max_grad_norm": 1.0, "ema_decay": 0.3},
        {"optimiser": "adamw", "lr_schedule": "cosine", "max_grad_norm": 1e6, "ema_decay": 0.9999},
        {"optimiser": "adamw", "max_grad_norm": 1.0, "ema_decay": 0.9, "ema_warmup": False, "weight_decay": 0.5},
    ],
    ids=["adam", "adamw", "decayed"],
)
def test_training_equals_the_plain_recipe(method: str, recipe: dict) -> None:
    one = member(method, lambda_feat=1e-2, train=train_spec(steps=12, precision="float64", **recipe))
    teacher = frozen_teacher()
    expected, norms = train_plainly(one, copy.deepcopy(teacher))
    (trainee,) = train([one], teacher)
    for actual, plain in zip(trainee.ema_student().parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(actual, plain.detach(), rtol=1e-8, atol=1e-10)
    assert [point["grad_norm"] for point in trainee.curve] == pytest.approx(norms, rel=1e-8)
    assert min(norms) > 1.0  # so that clipping at 1 does something


def test_flat_parameters_are_views_of_one_tensor() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    expected = [parameter.detach().clone() for parameter in module.parameters()]
    flat, num_first = flatten_parameters(module, first=module[1])
    assert num_first == 32  # 10 and 2 elements, each padded to 16
    assert flat.numel() == 32 + 32
    for parameter, value in zip(module.parameters(), expected, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.data.untyped_storage().data_ptr() == flat.data.untyped_storage().data_ptr()
        assert parameter.grad.untyped_storage().data_ptr() == flat.grad.untyped_storage().data_ptr()
        assert (parameter.data_ptr() - flat.data_ptr()) % 64 == 0
    assert torch.equal(flat[:10].view(2, 5), module[1].weight)  # `first` lies in front
    assert torch.equal(flat[32:47].view(5, 3), module[0].weight)


def test_a_step_of_the_flat_parameter_moves_the_module() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    plain = copy.deepcopy(module)
    flat, _ = flatten_parameters(module, first=module)
    x = torch.randn((4, 3), generator=torch.Generator().manual_seed(0))
    for model, parameters in ((module, [flat]), (plain, list(plain.parameters()))):
        optimiser = torch.optim.SGD(parameters, lr=0.1)
        for _ in range(3):
            model(x).square().sum().backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=False)
    assert not torch.equal(plain(x), torch.zeros_like(plain(x)))
    torch.testing.assert_close(module(x), plain(x))
    assert (flat.detach() == 0).sum() >= 1 + 11 + 6 + 14  # the padding stays zero


def test_learning_rate_follows_its_schedule() -> None:
    constant, cosine = train_spec(steps=100, lr=0.2), train_spec(steps=100, lr=0.2, lr_schedule="cosine")
    assert [learning_rate(constant, step) for step in (0, 50, 99)] == [0.2, 0.2, 0.2]
    assert [learning_rate(cosine, step) for step in (0, 50)] == pytest.approx([0.2, 0.1])
    assert 0 < learning_rate(cosine, 99) < 1e-4


def test_the_ema_lags_behind_and_starts_at_the_initial_student() -> None:
    teacher = frozen_teacher(torch.float32)
    distances = []
    initial = nn.utils.parameters_to_vector(build_model(unet(4), SHAPE, seed=0).parameters()).detach()
    for decay in (0.0, 0.5, 0.9999):
        (trainee,) = train([member("out_kd", train=train_spec(ema_decay=decay))], teacher)
        distances.append((nn.utils.parameters_to_vector(trainee.ema_student().parameters()) - initial).norm().item())
    assert distances[0] > distances[1] > 0
    assert distances[1] == pytest.approx(distances[2], rel=1e-6)  # six steps of warm-up do not reach 0.5


def test_dropout_is_a_stream_of_the_members_own() -> None:
    """A student with dropout is the same alone and beside others, and the default generator is left alone."""
    dropped = unet(4, dropout=0.3)
    one = member("out_kd", student=dropped)
    state = torch.get_rng_state()
    (alone,) = train([one], frozen_teacher(torch.float32))
    mates = [member("out_kd", student=dropped, lambda_out=0.5), one, member("diffusion_only", student=dropped, seed=1)]
    torch.rand(3)  # another state of the default generator
    beside = train(mates, frozen_teacher(torch.float32))[1]
    torch.set_rng_state(state)
    assert weights_digest(alone.ema_student()) == weights_digest(beside.ema_student())
    (without,) = train([member("out_kd")], frozen_teacher(torch.float32))
    assert weights_digest(without.ema_student()) != weights_digest(alone.ema_student())
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_changes_from_step_to_step_and_follows_from_the_seed() -> None:
    def output(step: int, seed: int = 0) -> torch.Tensor:
        one = member("diffusion_only", student=unet(4, dropout=0.5), seed=seed)
        trainee = new_trainee(one, {})
        trainee._parameters.data.copy_(fixed(trainee._parameters))
        images = torch.ones(2, *SHAPE.image)
        batch = Batch(images, images, torch.tensor([3, 500]), torch.zeros(2, *SHAPE.image))
        return trainee._forward(batch, step)[0].detach()

    def fixed(parameters: torch.Tensor) -> torch.Tensor:
        return torch.rand(parameters.shape, generator=torch.Generator().manual_seed(0)) / 10

    assert torch.equal(output(3), output(3))
    assert not torch.equal(output(3), output(4))
    assert not torch.equal(output(3), output(3, seed=1))


def test_a_step_that_is_not_finite_freezes_the_member() -> None:
    trainee = new_trainee(member("diffusion_only"), {})
    before = weights_digest(trainee.ema_student())
    assert trainee.active
    trainee.diverge(4)
    assert (trainee.active, trainee.diverged_at_step) == (False, 4)
    assert weights_digest(trainee.ema_student()) == before


def test_the_curve_tells_what_the_method_has() -> None:
    names = ("diffusion_only", "out_kd", "feat_kd", "lift_place_feat")
    trainees = train([member(name) for name in names], frozen_teacher(torch.float32))
    curves = {name: trainee.curve for name, trainee in zip(names, trainees, strict=True)}
    base = {"step", "loss", "loss_diff", "grad_norm"}
    fit = {"slope_error", "intercept_error", "distance"}
    assert set(curves["diffusion_only"][0]) == base
    assert set(curves["out_kd"][0]) == base | fit | {"loss_out"}
    assert set(curves["feat_kd"][0]) == base | fit | {"loss_feat"}
    assert set(curves["lift_place_feat"][0]) == base | fit | {"loss_out", "loss_feat", "gate"}
    for curve in curves.values():
        assert [point["step"] for point in curve] == list(range(6))
        assert all(math.isfinite(value) for point in curve for value in point.values())
    # The same stream and initial student: common random numbers make the first step comparable.
    assert len({curve[0]["loss_diff"] for curve in curves.values()}) == 1


def test_long_curves_have_about_fifty_points_and_the_last_step() -> None:
    (trainee,) = train([member("diffusion_only", train=train_spec(steps=120, batch_size=1))], frozen_teacher())
    steps = [point["step"] for point in trainee.curve]
    assert steps == [*range(0, 120, 2), 119]


def test_digests_tell_weights_names_and_types_apart() -> None:
    model = build_model(unet(4), SHAPE, seed=0)
    digest = weights_digest(model)
    assert digest == weights_digest(build_model(unet(4), SHAPE, seed=0))
    assert digest != weights_digest(copy.deepcopy(model).double())
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.conv_out.bias[0] += 1e-6
    assert digest != weights_digest(moved)
    assert digest != weights_digest(nn.ModuleDict({"other": model}))

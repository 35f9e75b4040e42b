"""A member's loss is the sum of its terms, each times its lambda, and its gradient is the one that the method says."""

from collections.abc import Sequence

import pytest
import torch
from numerical_gradient import numerical_gradient
from plain_dist import plain_dist

from study.benchmarks.plain_lift_place import adaptive_gate, fit_lines, grouped, plain_loss, relative_error
from trainables.losses.methods import METHODS, Method, make_method
from trainables.losses.objective import objective, squared_error

SHAPE = (2, 1, 4, 4)
LAMBDAS = {"lambda_diff": 0.7, "lambda_out": 0.3, "lambda_feat": 0.02}


def method_of(name: str, **settings: object) -> Method:
    recipe = {"group_size": 8, "coarse_norm": "l1", "gate": "adaptive", "eps": 1e-7, "reduction": "sum"}
    return make_method(name, LAMBDAS | recipe | settings, num_elements=16)


def tensors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The student's output, the noise, and a teacher whose errors are too far apart to change order (float64)."""
    generator = torch.Generator().manual_seed(seed)
    output, noise = (torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(2))
    ranks = torch.stack([torch.randperm(16, generator=generator) for _ in range(2)]).view(SHAPE)
    return output, noise, 0.97 * output + 0.01 + 0.01 * ranks


def features_of(output: torch.Tensor) -> list[torch.Tensor]:
    """Stand-ins for features that depend on what the gradient is taken of."""
    return [output * 2, output.mean(dim=(2, 3), keepdim=True) ** 2]


TEACHER_FEATURES = [
    torch.full((2, 3, 4, 4), 0.3, dtype=torch.float64),
    torch.full((2, 1, 1, 1), -0.2, dtype=torch.float64),
]
ADAPTERS = [torch.tensor([[1.0], [-0.5], [2.0]], dtype=torch.float64), torch.ones((1, 1), dtype=torch.float64)]


def adapted(output: torch.Tensor) -> list[torch.Tensor]:
    """The stand-ins in the teacher's channels."""
    pairs = zip(ADAPTERS, features_of(output), strict=True)
    return [torch.einsum("dc,bchw->bdhw", adapter, feature) for adapter, feature in pairs]


def by_hand(
    method: Method,
    output: torch.Tensor,
    noise: torch.Tensor,
    teacher: torch.Tensor,
    held: Sequence[torch.Tensor],
) -> torch.Tensor:
    """The objective written out: sums over elements, means over the two samples."""
    loss = 0.7 * ((noise - output) ** 2).sum() / 2
    if method.output == "mse":
        loss = loss + 0.3 * ((teacher - output) ** 2).sum() / 2
    if method.output in ("lift", "lift_place"):
        choices = {"group_size": 16 if method.output == "lift" else 8, "coarse_norm": method.coarse_norm}
        loss = loss + 0.3 * plain_loss(output, teacher, held=tuple(held), **choices)
    if method.output == "dist":
        loss = loss + 0.3 * 16 * plain_dist(output, teacher)
    if method.feature == "fitnet":
        pairs = zip(adapted(output), TEACHER_FEATURES, strict=True)
        loss = loss + 0.02 * sum(((student - target) ** 2).sum() for student, target in pairs) / 2
    return loss


@pytest.mark.parametrize("coarse_norm", ["l1", "l2"])
@pytest.mark.parametrize("name", METHODS)
def test_value_and_gradient_of_every_method(name: str, coarse_norm: str) -> None:
    """The gradient is the finite difference of the objective with line, gate and order held (equation of LIFT)."""
    method = method_of(name, coarse_norm=coarse_norm)
    output, noise, teacher = tensors()
    a, b = fit_lines(*grouped(output, teacher, 16 if name.startswith("lift") and "place" not in name else 8))
    held = (a, b, adaptive_gate(a, b))
    assert held[2] > 0.1

    leaf = output.clone().requires_grad_()
    terms = objective(
        method,
        leaf,
        noise,
        teacher_output=teacher,
        student_features=features_of(leaf) if method.feature != "none" else (),
        teacher_features=TEACHER_FEATURES if method.feature != "none" else (),
        adapters=ADAPTERS if method.feature != "none" else (),
    )
    (gradient,) = torch.autograd.grad(terms.loss, leaf)
    expected = by_hand(method, output, noise, teacher, held)
    assert terms.loss.item() == pytest.approx(expected.item(), rel=1e-9)
    expected_gradient = numerical_gradient(lambda x: by_hand(method, x, noise, teacher, held), output)
    assert relative_error(gradient, expected_gradient) < 1e-7


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_is_the_sum_of_its_terms_times_their_lambdas(name: str) -> None:
    method = method_of(name)
    output, noise, teacher = tensors()
    features = {
        "student_features": features_of(output),
        "teacher_features": TEACHER_FEATURES,
        "adapters": ADAPTERS,
    }
    terms = objective(method, output, noise, teacher_output=teacher, **features)
    parts = {"lambda_diff": terms.loss_diff, "lambda_out": terms.loss_out, "lambda_feat": terms.loss_feat}
    applies = {key: value for key, value in parts.items() if value is not None}
    assert list(applies) == [key for key in LAMBDAS if getattr(method, key) is not None]
    assert terms.loss.item() == pytest.approx(sum(LAMBDAS[key] * value.item() for key, value in applies.items()))
    fits = (terms.gate, terms.slope_error, terms.intercept_error)
    assert all((value is not None) == method.fits_lines for value in fits)


def test_eps_of_zero_is_zero() -> None:
    output, noise, _ = tensors()
    exact = objective(method_of("lift", eps=0.0), output, noise, teacher_output=output + 1)
    assert exact.slope_error is not None
    assert exact.slope_error.item() < 1e-14
    damped = objective(method_of("lift", eps=1e-2), output, noise, teacher_output=output + 1)
    assert damped.slope_error is not None
    assert damped.slope_error.item() > 1e-3


def test_progress_drives_the_scheduled_gates() -> None:
    output, noise, teacher = tensors()
    method = method_of("lift_place", gate="linear")
    gates = [objective(method, output, noise, teacher_output=teacher, progress=p).gate for p in (0.0, 0.5, 1.0)]
    assert [gate.item() for gate in gates if gate is not None] == [0.0, 0.5, 1.0]


def test_reduction_of_a_method_reaches_all_of_its_terms() -> None:
    output, noise, teacher = tensors()
    results = {}
    for reduction in ("sum", "mean"):
        method = method_of("lift_place_feat", reduction=reduction)
        features = {"student_features": [output], "teacher_features": [teacher], "adapters": ADAPTERS[1:]}
        results[reduction] = objective(method, output, noise, teacher_output=teacher, **features)
    for part in ("loss_diff", "loss_out", "loss_feat"):
        total, mean = (getattr(results[reduction], part).item() for reduction in ("sum", "mean"))
        assert total == pytest.approx(16 * mean, rel=1e-12)


def test_squared_error_by_hand() -> None:
    output, target = torch.zeros(2, 1, 1, 3), torch.tensor([[[[1.0, 2.0, 3.0]]], [[[0.0, 0.0, 4.0]]]])
    assert squared_error(output, target, "sum").item() == 15.0  # (14 + 16) / 2 samples
    assert squared_error(output, target, "mean").item() == 5.0

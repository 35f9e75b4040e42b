"""DIST is one minus correlations, whatever the ranks that the batch is spread over."""

import pytest
import torch
from numerical_gradient import numerical_gradient
from plain_dist import plain_dist

from study.benchmarks.plain_lift_place import relative_error
from trainables.losses.dist import dist_loss


def outputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, other = (torch.randn((6, 2, 3, 3), generator=generator, dtype=torch.float64) for _ in range(2))
    return student, 0.6 * student + 0.5 * other


def test_value_and_gradient_agree_with_a_plain_reading() -> None:
    student, teacher = outputs()
    leaf = student.clone().requires_grad_()
    loss = dist_loss(leaf, teacher, reduction="mean")
    assert loss.item() == pytest.approx(plain_dist(student, teacher).item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert relative_error(gradient, numerical_gradient(lambda x: plain_dist(x, teacher), student)) < 1e-7


def test_sum_is_the_mean_times_the_elements() -> None:
    student, teacher = outputs()
    assert dist_loss(student, teacher).item() == pytest.approx(
        18 * dist_loss(student, teacher, reduction="mean").item()
    )


def test_it_sees_neither_scale_nor_shift() -> None:
    student, _ = outputs()
    assert dist_loss(student, 3 * student + 0.5, reduction="mean").item() == pytest.approx(0.0, abs=1e-9)
    assert dist_loss(student, -student, reduction="mean").item() == pytest.approx(4.0)


def test_two_ranks_equal_one() -> None:
    """Each rank is given what the mean over both is; the mean of their gradients is the gradient of the whole batch."""
    student, teacher = outputs()
    whole = student.clone().requires_grad_()
    expected = dist_loss(whole, teacher, reduction="mean")
    (expected_gradient,) = torch.autograd.grad(expected, whole)
    halves = [(student[half], teacher[half]) for half in (slice(0, 3), slice(3, 6))]
    means, losses, gradients = rank_means(halves), [], []
    for s, t in halves:
        leaf, given = s.clone().requires_grad_(), iter(means)
        loss = dist_loss(leaf, t, reduction="mean", rank_mean=lambda _values, given=given: next(given))
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, leaf)[0] / 2)
    assert sum(losses) / 2 == pytest.approx(expected.item(), rel=1e-9)
    assert relative_error(torch.cat(gradients), expected_gradient) < 1e-9


def rank_means(halves: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    """The two averages over ranks that the loss asks for: means, then central moments, by position."""
    flat = [(s.flatten(1), t.flatten(1)) for s, t in halves]
    means = torch.stack([torch.stack([x.mean(dim=0) for x in pair]) for pair in flat]).mean(dim=0)
    centred = [(s - means[0], t - means[1]) for s, t in flat]
    moments = [torch.stack([(s * s).mean(0), (t * t).mean(0), (s * t).mean(0)]) for s, t in centred]
    return [means, torch.stack(moments).mean(dim=0)]

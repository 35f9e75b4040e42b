"""LIFT and PLACE against the published loss, finite differences and a plain reading of the method.

golden_lift_place.npz/.json hold 51 cases that were checked against the numbers that the authors' published loss
produces: inputs `student_i`, `teacher_i` (float32, B C H W), the loss, and `grad_i` = d loss / d student.
"""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numerical_gradient import numerical_gradient
from torch.utils._python_dispatch import TorchDispatchMode

from study.benchmarks.plain_lift_place import adaptive_gate, fit_lines, grouped, plain_loss, relative_error
from trainables.losses.lift_place import lift_place_loss, lift_place_terms, place_groups
from trainables.losses.settings import check_group_size

GOLDEN = json.loads(Path(__file__).with_name("golden_lift_place.json").read_text())
NORMS = ("l1", "l2")
PARTS = ("full", "coarse", "fine")


@pytest.fixture(scope="module")
def golden_arrays() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("golden_lift_place.npz")) as arrays:
        return dict(arrays)


def outputs(
    shape: tuple[int, int, int, int] = (2, 2, 4, 4),
    *,
    error: float = 0.5,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A student (a leaf that asks for its gradient) and a teacher that differ by about `error`."""
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(shape, generator=generator, dtype=torch.float64)
    student = 0.9 * teacher + error * torch.randn(shape, generator=generator, dtype=torch.float64) + 0.05
    return student.to(dtype).requires_grad_(), teacher.to(dtype)


def separated_outputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """As `outputs`, with squared errors so far apart that a finite difference cannot change their order."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn((2, 2, 4, 4), generator=generator, dtype=torch.float64)
    ranks = torch.stack([torch.randperm(16, generator=generator) for _ in range(4)]).view(2, 2, 4, 4)
    signs = torch.randint(0, 2, (2, 2, 4, 4), generator=generator) * 2 - 1
    return student.requires_grad_(), student.detach() + signs * (0.05 + 0.05 * ranks)


def gradient_of(loss: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, student)[0]


def test_there_are_51_golden_cases() -> None:
    assert len(GOLDEN) == 51


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['index']}-{case['norm']}-{case['part']}")
def test_agrees_with_the_published_loss(case: dict, golden_arrays: dict[str, np.ndarray]) -> None:
    student, teacher, expected = (
        torch.from_numpy(golden_arrays[f"{name}_{case['index']}"]) for name in ("student", "teacher", "grad")
    )
    student.requires_grad_()
    loss = lift_place_loss(student, teacher, group_size=case["group_size"], coarse_norm=case["norm"], part=case["part"])
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    assert relative_error(gradient_of(loss, student), expected) <= 1e-4


@pytest.mark.parametrize("coarse_norm", NORMS)
@pytest.mark.parametrize("group_size", [4, 16])
def test_coarse_gradient_is_the_finite_difference_of_the_loss(coarse_norm: str, group_size: int) -> None:
    student, teacher = separated_outputs()
    a, b = fit_lines(*grouped(student.detach(), teacher, group_size))
    assert min((a - 1).abs().min(), b.abs().min()) > 1e-4  # away from the kinks of the l1 norm

    def coarse(x: torch.Tensor) -> torch.Tensor:
        return lift_place_loss(x, teacher, group_size=group_size, coarse_norm=coarse_norm, part="coarse")

    expected = numerical_gradient(coarse, student.detach())
    assert relative_error(gradient_of(coarse(student), student), expected) < 1e-7


@pytest.mark.parametrize("part", ["fine", "full"])
@pytest.mark.parametrize("coarse_norm", NORMS)
@pytest.mark.parametrize("group_size", [4, 16])
def test_gradient_is_the_finite_difference_with_line_and_gate_held(
    part: str, coarse_norm: str, group_size: int
) -> None:
    student, teacher = separated_outputs(seed=1)
    a, b = fit_lines(*grouped(student.detach(), teacher, group_size))
    held = (a, b, adaptive_gate(a, b))
    if part == "full" and group_size == 16:
        assert held[2] > 0  # else the full loss is the coarse one
    choices = {"group_size": group_size, "coarse_norm": coarse_norm, "part": part}
    expected = numerical_gradient(lambda x: plain_loss(x, teacher, held=held, **choices), student.detach())
    assert relative_error(gradient_of(lift_place_loss(student, teacher, **choices), student), expected) < 1e-7


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("coarse_norm", NORMS)
@pytest.mark.parametrize(
    ("shape", "group_size"),
    [((1, 1, 2, 2), 2), ((3, 1, 4, 6), 8), ((2, 3, 8, 8), 16), ((2, 3, 8, 8), 64), ((2, 2, 3, 5), 3)],
)
def test_agrees_with_autograd_of_a_plain_reading(
    shape: tuple[int, int, int, int], group_size: int, coarse_norm: str, part: str
) -> None:
    for reduction in ("sum", "mean"):
        for eps in (1e-7, 1e-2):
            student, teacher = outputs(shape, error=0.1, seed=3)
            choices = {"group_size": group_size, "coarse_norm": coarse_norm, "part": part, "eps": eps}
            actual = lift_place_loss(student, teacher, reduction=reduction, **choices)
            expected = plain_loss(student, teacher, reduction=reduction, **choices)
            assert actual.item() == pytest.approx(expected.item(), rel=1e-10)
            assert relative_error(gradient_of(actual, student), gradient_of(expected, student)) < 1e-9


@pytest.mark.parametrize(
    ("gate", "progress", "value"),
    [
        *(("constant", progress, 1.0) for progress in (0.0, 0.5, 1.0)),
        *(("linear", progress, progress) for progress in (0.0, 0.25, 0.5, 1.0)),
        *(("cosine", progress, (1 - math.cos(math.pi * progress)) / 2) for progress in (0.0, 0.25, 0.5, 1.0)),
    ],
)
def test_scheduled_gates(gate: str, progress: float, value: float) -> None:
    student, teacher = outputs()
    terms = lift_place_terms(student, teacher, group_size=4, gate=gate, progress=progress)
    assert terms.gate.item() == pytest.approx(value, abs=1e-12)
    expected = plain_loss(student, teacher, group_size=4, gate=value)
    assert terms.loss.item() == pytest.approx(expected.item(), rel=1e-10)
    assert relative_error(gradient_of(terms.loss, student), gradient_of(expected, student)) < 1e-9


def test_adaptive_gate_opens_with_the_alignment() -> None:
    student, teacher = outputs((4, 1, 8, 8), error=0.02)
    terms = lift_place_terms(student, teacher, group_size=64)
    a, b = fit_lines(*grouped(student.detach(), teacher, 64))
    assert terms.slope_error.item() == pytest.approx((a - 1).abs().mean().item(), rel=1e-9)
    assert terms.intercept_error.item() == pytest.approx(b.abs().mean().item(), rel=1e-9)
    assert 0.5 < terms.gate.item() < 0.99
    assert terms.gate.item() == pytest.approx(1 - terms.slope_error.item() - terms.intercept_error.item(), rel=1e-12)


def test_adaptive_gate_stays_shut_for_a_student_that_is_far_off() -> None:
    student, teacher = outputs()
    terms = lift_place_terms(student, teacher + 9, group_size=16)
    assert terms.gate.item() == 0
    assert terms.loss.item() == lift_place_loss(student, teacher + 9, group_size=16, part="coarse").item()


@pytest.mark.parametrize("group_size", [4, 16])
def test_a_perfect_student_has_nothing_to_learn(group_size: int) -> None:
    _, teacher = outputs()
    student = teacher.clone().requires_grad_()
    terms = lift_place_terms(student, teacher, group_size=group_size, eps=0.0)
    assert (terms.loss.item(), terms.slope_error.item(), terms.intercept_error.item()) == (0, 0, 0)
    assert terms.gate.item() == 1
    coarse = lift_place_loss(student, teacher, group_size=group_size, part="coarse")  # eps pulls a below 1 a little
    assert coarse.item() < 1e-4


def test_a_student_on_a_line_has_only_the_coarse_part() -> None:
    student, _ = outputs((1, 1, 4, 4))
    teacher = (2 * student + 3).detach()
    fine = lift_place_loss(student, teacher, group_size=16, part="fine", eps=0.0)
    coarse = lift_place_loss(student, teacher, group_size=16, part="coarse", eps=0.0)
    assert fine.item() == pytest.approx(0, abs=1e-20)
    assert coarse.item() == pytest.approx(16 * (1 + 3), rel=1e-12)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("coarse_norm", NORMS)
def test_mean_is_the_sum_over_the_elements(part: str, coarse_norm: str) -> None:
    student, teacher = outputs((2, 3, 4, 4), error=0.05)
    total, mean = (
        lift_place_loss(student, teacher, group_size=4, part=part, coarse_norm=coarse_norm, reduction=reduction)
        for reduction in ("sum", "mean")
    )
    assert mean.item() * 48 == pytest.approx(total.item(), rel=1e-12)
    torch.testing.assert_close(gradient_of(mean, student) * 48, gradient_of(total, student))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), group_size=st.sampled_from([2, 4, 8, 16]), coarse_norm=st.sampled_from(NORMS))
def test_order_of_the_elements_of_a_channel_does_not_matter(seed: int, group_size: int, coarse_norm: str) -> None:
    student, teacher = outputs(error=0.1, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(16, generator=generator) for _ in range(4)]).view(2, 2, 16)

    def permuted(x: torch.Tensor) -> torch.Tensor:
        return x.detach().flatten(2).gather(2, order).view_as(x)

    moved = permuted(student).requires_grad_()
    choices = {"group_size": group_size, "coarse_norm": coarse_norm}
    loss, moved_loss = (
        lift_place_loss(student, teacher, **choices),
        lift_place_loss(moved, permuted(teacher), **choices),
    )
    assert moved_loss.item() == pytest.approx(loss.item(), rel=1e-9)
    assert relative_error(gradient_of(moved_loss, moved), permuted(gradient_of(loss, student))) < 1e-9


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), group_size=st.sampled_from([2, 3, 4, 6, 12, 24]))
def test_groups_are_of_one_size_and_ordered_by_error(seed: int, group_size: int) -> None:
    student, teacher = outputs((2, 3, 4, 6), seed=seed)
    groups = place_groups(student.detach(), teacher, group_size)
    assert groups.shape == student.shape
    num_groups = 24 // group_size
    for labels, errors in zip(groups.view(6, 24), (teacher - student.detach()).abs().view(6, 24), strict=True):
        assert labels.bincount().tolist() == [group_size] * num_groups
        edges = [(errors[labels == group].min(), errors[labels == group].max()) for group in range(num_groups)]
        assert all(below[1] <= above[0] for below, above in pairwise(edges))


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = outputs()
    teacher.requires_grad_()
    lift_place_loss(student, teacher, group_size=4).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_two_half_batches_with_a_shared_gate_equal_the_whole_batch() -> None:
    student, teacher = outputs((4, 1, 8, 8), error=0.3)
    teacher[:2] += 0.5
    teacher[2:] = student.detach()[2:]  # the halves are aligned unequally well
    whole = lift_place_terms(student, teacher, group_size=64)
    assert 0.1 < whole.gate.item() < 0.9
    expected = gradient_of(whole.loss, student)
    halves = (slice(0, 2), slice(2, 4))
    statistics = []
    for half in halves:
        terms = lift_place_terms(student[half], teacher[half], group_size=64)
        statistics.append(torch.stack([terms.slope_error, terms.intercept_error]))

    def rank_mean(_: torch.Tensor) -> torch.Tensor:
        return torch.stack(statistics).mean(dim=0)

    losses = [lift_place_terms(student[h], teacher[h], group_size=64, rank_mean=rank_mean).loss for h in halves]
    mean = torch.stack(losses).mean()
    assert mean.item() == pytest.approx(whole.loss.item(), rel=1e-12)
    assert relative_error(gradient_of(mean, student), expected) < 1e-12

    alone = torch.stack([lift_place_loss(student[h], teacher[h], group_size=64) for h in halves]).mean()
    assert abs(alone.item() / whole.loss.item() - 1) > 1e-2  # which a gate of each half's own is not
    assert relative_error(gradient_of(alone, student), expected) > 1e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = outputs((2, 1, 8, 8), dtype=dtype)
    loss = lift_place_loss(student, teacher, group_size=16)
    gradient = gradient_of(loss, student)
    wide = student.detach().float().requires_grad_()
    expected = lift_place_loss(wide, teacher.float(), group_size=16)
    assert loss.item() == expected.item()
    assert gradient.dtype == dtype
    assert relative_error(gradient.float(), gradient_of(expected, wide)) < 1e-2


def test_the_factor_of_a_loss_scaler_may_exceed_float16() -> None:
    student, teacher = outputs((2, 1, 8, 8), dtype=torch.float16)
    loss = lift_place_loss(student, teacher, group_size=16, reduction="mean") * 2.0**17
    gradient = gradient_of(loss, student)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_a_flat_student_has_a_finite_gradient() -> None:
    _, teacher = outputs((2, 1, 4, 4), dtype=torch.float32)
    student = torch.zeros_like(teacher).requires_grad_()  # variance 0: eps keeps the slope finite
    loss = lift_place_loss(student, teacher, group_size=4)
    assert loss.isfinite()
    assert gradient_of(loss, student).isfinite().all()


def test_an_output_that_is_not_finite_shows_in_the_loss() -> None:
    student, teacher = outputs()
    with torch.no_grad():
        student[1, 1, 2, 2] = math.nan
    assert not lift_place_loss(student, teacher, group_size=4).isfinite()


class NoHostSync(TorchDispatchMode):
    """Fails where a value is read back to the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal"), name
        return func(*args, **(kwargs or {}))


def test_the_guard_against_host_syncs_works() -> None:
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoHostSync():
        torch.ones(1).sum().item()


@pytest.mark.parametrize("gate", ["adaptive", "constant", "cosine", "linear"])
@pytest.mark.parametrize("part", PARTS)
def test_nothing_waits_for_the_device(part: str, gate: str) -> None:
    student, teacher = outputs()
    meta = torch.empty((2, 2, 4, 4), device="meta", requires_grad=True)
    with NoHostSync():
        lift_place_loss(student, teacher, group_size=4, part=part, gate=gate).backward()
        lift_place_loss(meta, meta.detach(), group_size=4, part=part, gate=gate).backward()
    assert meta.grad is not None


@pytest.mark.parametrize("group_size", [0, 1, 3, 5, 32, -4])
def test_a_group_size_that_does_not_divide_is_refused_with_those_that_do(group_size: int) -> None:
    student, teacher = outputs()
    with pytest.raises(ValueError, match=rf"group_size .* got {group_size}; allowed: 2, 4, 8, 16$"):
        lift_place_loss(student, teacher, group_size=group_size)


def test_group_sizes_that_divide_are_allowed() -> None:
    for group_size in (2, 3, 4, 6, 12):
        check_group_size(group_size, 12)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("coarse_norm", "l1, l2"),
        ("part", "full, coarse, fine"),
        ("reduction", "sum, mean"),
        ("gate", "adaptive, constant, cosine, linear"),
    ],
)
def test_a_bad_choice_is_named(key: str, allowed: str) -> None:
    student, teacher = outputs()
    with pytest.raises(ValueError, match=f"{key} must be one of {allowed} but got 'l3'"):
        lift_place_loss(student, teacher, group_size=4, **{key: "l3"})


def test_outputs_of_different_shapes_are_refused() -> None:
    student, teacher = outputs()
    with pytest.raises(ValueError, match=r"one shape \(B, C, H, W\) but got \(2, 2, 4, 4\) and \(2, 2, 16\)"):
        lift_place_loss(student, teacher.flatten(2), group_size=4)

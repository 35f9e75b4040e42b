"""Contracts of output and feature losses.

Outputs are those of a young student and a trained teacher: the noise that both predict, with an error of 0.5 and of 0.2
standard deviations. Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from trainables.contracts.finding import Finding, expected, tried
from trainables.contracts.ranks import whole_and_parts
from trainables.losses.features import feature_loss, make_adapters, squared_error
from trainables.losses.lift_place import LiftPlaceTerms, RankMean
from trainables.losses.methods import Method
from trainables.losses.objective import output_loss

Tensors = Sequence[torch.Tensor]
Loss = Callable[[Tensors, Tensors, RankMean | None], torch.Tensor]
OUTPUTS = ((8, 1, 8, 8), (8, 3, 16, 16), (4, 4, 32, 32))  # B, C, H, W
FEATURES = ((4, 8, 8, 8), (4, 16, 4, 4))
_ERROR, _TEACHERS_ERROR = 0.5, 0.2
_TOLERANCE = 1e-4
FAR = 100.0  # a gradient this many times as large, or as small, as the diffusion loss's decides nothing, or alone


def check_output_loss(method: Method) -> Iterator[Finding]:
    """Of a method's output loss, under the method's settings."""

    def loss(student: Tensors, teacher: Tensors, mean: RankMean | None) -> torch.Tensor:
        found = output_loss(method)(student[0], teacher[0], method, progress=0.5, rank_mean=mean)
        return found.loss if isinstance(found, LiftPlaceTerms) else found

    pairs = [([student], [teacher]) for student, teacher, _ in map(_outputs, OUTPUTS)]
    yield from _checks(loss, pairs)
    yield tried("scale", lambda: _scale(loss, method))


def check_feature_loss(path: str, reduction: str) -> Iterator[Finding]:
    """Of a feature loss: two pairs of activations (B, C, H, W)."""
    compared = feature_loss(path)

    def loss(student: Tensors, teacher: Tensors, _mean: RankMean | None) -> torch.Tensor:
        adapters: Tensors = ()
        if compared.adapted:
            shapes = [[one.shape for one in side] for side in (student, teacher)]
            made = make_adapters(shapes[0], shapes[1], torch.Generator().manual_seed(0))
            adapters = [one.to(student[0].dtype) for one in made]
        return compared.loss(student, teacher, adapters, reduction=reduction)

    made = [_outputs(shape) for shape in FEATURES]
    yield from _checks(loss, [([one for one, _, _ in made], [other for _, other, _ in made])])


def _checks(loss: Loss, pairs: Sequence[tuple[Tensors, Tensors]]) -> Iterator[Finding]:
    student, teacher = pairs[0]
    yield tried("shapes", lambda: _shapes(loss, pairs))
    yield tried("gradient", lambda: _gradients(loss, student, teacher))
    yield tried("at the teacher", lambda: _at_the_teacher(loss, teacher))
    yield tried("least at the teacher", lambda: _least(loss, student, teacher))
    yield tried("the same twice", lambda: _twice(loss, student, teacher))
    yield tried("two ranks equal one", lambda: _ranks(loss, student, teacher))


def _outputs(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student, teacher and what both predict, float64."""
    generator = torch.Generator().manual_seed(0)
    noise, one, other = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return noise + _ERROR * one, noise + _TEACHERS_ERROR * other, noise


def _shapes(loss: Loss, pairs: Sequence[tuple[Tensors, Tensors]]) -> Finding:
    seen = []
    for dtype in (torch.float64, torch.float32):
        for student, teacher in pairs:
            value = loss([one.to(dtype) for one in student], [one.to(dtype) for one in teacher], None)
            if not isinstance(value, torch.Tensor) or value.ndim or not value.isfinite() or value.dtype != dtype:
                return expected("shapes", False, f"{value!r} of {_named(student)}, not a finite scalar of {dtype}")
            seen.append(f"{value.item():.4g} of {_named(student)}")
    return expected("shapes", True, ", ".join(seen[: len(pairs)]))


def _named(tensors: Tensors) -> str:
    return " and ".join("x".join(map(str, one.shape)) for one in tensors)


def _gradients(loss: Loss, student: Tensors, teacher: Tensors) -> Finding:
    """The teacher's outputs are those of all members of a pack: none may change them."""
    mine, theirs = [one.detach().clone().requires_grad_() for one in student], [one.clone() for one in teacher]
    loss(mine, theirs, None).backward()  # type: ignore[no-untyped-call]
    pairs = [*zip(mine, student, strict=True), *zip(theirs, teacher, strict=True)]
    if not all(torch.equal(one, other) for one, other in pairs):
        return expected("gradient", False, "it changes in place what it is given, which is other members' too")
    if any(one.grad is None or not one.grad.isfinite().all() for one in mine):
        return expected("gradient", False, "it has none for the student, or one that is not finite")
    norm = sum(float(one.grad.square().sum()) for one in mine if one.grad is not None) ** 0.5
    return expected("gradient", norm > 0, f"to the student alone, of norm {norm:.3g}; what it is given stays as it is")


def _at_the_teacher(loss: Loss, teacher: Tensors) -> Finding:
    """A student that is cut from its teacher begins there."""
    equal = [one.detach().clone().requires_grad_() for one in teacher]
    value = loss(equal, teacher, None)
    value.backward()  # type: ignore[no-untyped-call]
    fine = all(one.grad is None or bool(one.grad.isfinite().all()) for one in equal) and bool(value.isfinite())
    return expected(
        "at the teacher", fine, f"the loss is {value.item():.3g}, its gradient {'' if fine else 'not '}finite"
    )


def _least(loss: Loss, student: Tensors, teacher: Tensors) -> Finding:
    there, away = loss(teacher, teacher, None).item(), loss(student, teacher, None).item()
    return expected("least at the teacher", there < away, f"{there:.3g} there, {away:.3g} at the student")


def _twice(loss: Loss, student: Tensors, teacher: Tensors) -> Finding:
    one, other = (loss(student, teacher, None).item() for _ in range(2))
    return expected("the same twice", one == other, f"{one:.6g} and {other:.6g}")


def _ranks(loss: Loss, student: Tensors, teacher: Tensors) -> Finding:
    whole, parts = whole_and_parts(loss, student, teacher)
    error = float((whole - parts).norm() / whole.norm().clamp(min=1e-30))
    advice = "" if error <= _TOLERANCE else "; it must be a mean over the batch, with rank_mean over what samples share"
    return expected("two ranks equal one", error <= _TOLERANCE, f"relative error of the gradient {error:.1g}{advice}")


def _scale(loss: Loss, method: Method) -> Finding:
    """The gradient against that of the diffusion loss, with the method's weights, over the shapes."""
    assert method.lambda_out is not None
    ratios = []
    for shape in OUTPUTS:
        student, teacher, noise = _outputs(shape)
        leaf = student.clone().requires_grad_()
        (own,) = torch.autograd.grad(method.lambda_out * loss([leaf], [teacher], None), leaf)
        (diffusion,) = torch.autograd.grad(squared_error(leaf, noise, method.reduction), leaf)
        ratios.append(float(own.norm() / diffusion.norm()))
    equal = [f"{method.lambda_out / ratio:.3g}" if ratio else "none" for ratio in ratios]
    seen = (
        f"with lambda_out={method.lambda_out:g} and reduction={method.reduction} the gradient is"
        f" {', '.join(f'{ratio:.3g}' for ratio in ratios)} times the diffusion loss's at"
        f" {', '.join(map(_size, OUTPUTS))} (equal at lambda_out {', '.join(equal)})"
    )
    fits = all(1 / FAR <= ratio <= FAR for ratio in ratios)
    advice = "" if fits else "; scale it like a sum over the elements of an output, or choose another lambda_out"
    return expected("scale", fits, seen + advice)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[1:]))

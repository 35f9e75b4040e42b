"""An output loss of a user's: a function of the outputs of student and teacher, and of what else it asks for.

    def cosine(student, teacher, *, power: float = 1.0): ...

The outputs are (B, C, H, W); it returns a scalar tensor, the mean over the batch. What it asks for by keyword is given
to it: `reduction` (sum or mean over the elements of an output), `progress` (0 to 1, of the training), `rank_mean`
(averages a tensor over ranks; None with one), `method`. Every other keyword, which must have a default, is a setting of
the methods that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from trainables import plugins

if TYPE_CHECKING:
    import torch

    from trainables.losses.lift_place import LiftPlaceTerms

_KEY = "methods.output"
GIVEN = ("reduction", "progress", "rank_mean", "method")


def own_settings(path: str) -> dict[str, Any]:
    """The settings of the loss and their defaults. Raises ValueError where it is no function of two outputs."""
    return dict(_keywords(path)[1])


def own_loss(
    path: str, student: torch.Tensor, teacher: torch.Tensor, *, known: Mapping[str, Any], own: Mapping[str, Any]
) -> torch.Tensor | LiftPlaceTerms:
    """What the loss makes of outputs (B, C, H, W): a scalar tensor. known: all of GIVEN. own: its settings."""
    settings = {name: known[name] for name in _keywords(path)[0]} | dict(own)
    loss: torch.Tensor | LiftPlaceTerms = plugins.load(_KEY, path)(student, teacher.detach(), **settings)
    if getattr(loss, "ndim", 0):
        raise ValueError(f"{_KEY}={path} must return a scalar tensor but returned {tuple(getattr(loss, 'shape', ()))}")
    return loss


@cache
def _keywords(path: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The keywords that it asks for, and its own with their defaults."""
    function = plugins.load(_KEY, path)
    try:
        first, second, *others = signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_KEY}={path} must be a function (student, teacher, *, ...) but is {function!r}") from error
    asked = tuple(one.name for one in others if one.name in GIVEN)
    own = [one for one in others if one.name not in GIVEN]
    for one in (first, second, *own):
        is_output = one in (first, second)
        if one.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) or (
            one.kind is Parameter.KEYWORD_ONLY if is_output else one.default is Parameter.empty
        ):
            raise ValueError(
                f"{_KEY}={path} must take student, teacher and keywords with defaults (or {', '.join(GIVEN)}), but"
                f" takes {signature(function)}"
            )
    return asked, {one.name: one.default for one in own}

"""A narrower model of a teacher's family: the same blocks with fewer channels or heads."""

from __future__ import annotations

import math
from typing import Any

from trainables.data.dataset import DataShape
from trainables.families import find_family
from trainables.models.build import architecture, build_model
from trainables.models.sizes import count
from trainables.specs import ModelSpec, StudentSpec

_HALVINGS = 12
_MOST_OFF = 1.5  # widths come in steps, so that a ratio is met roughly; further off is refused


def narrower(teacher: StudentSpec, ratio: float, shape: DataShape, *, key: str) -> ModelSpec:
    """The model of the teacher's family whose parameters are nearest to `ratio` of the teacher's.

    Raises ValueError, naming the key, for a family whose models are not made narrower, and for a ratio that no width
    comes near.
    """
    whole = architecture(teacher, shape)
    family = find_family(key, whole.model_class)
    if family.narrow is None:
        raise ValueError(f"{key}: a {whole.model_class} is not made narrower; describe the student by its config")
    model: Any = build_model(whole, shape, seed=0, device="meta")
    full, params = dict(model.config), count(whole, shape).params
    low, high, best, found = 1e-3, 1.0, math.inf, whole
    for _ in range(_HALVINGS):
        factor = math.sqrt(low * high)
        config = {**whole.config, **family.narrow(full, factor)}
        tried = ModelSpec(name=f"{teacher.name}_x{ratio:g}", model_class=whole.model_class, config=config)
        got = count(tried, shape).params / params
        if abs(math.log(got / ratio)) < best:
            best, found = abs(math.log(got / ratio)), tried
        low, high = (factor, high) if got < ratio else (low, factor)
    if best > math.log(_MOST_OFF):
        nearest = count(found, shape).params / params if found is not whole else 1.0
        raise ValueError(f"{key}={ratio:g}: the nearest narrower {teacher.name} has {nearest:.3g} of its parameters")
    return found

"""The table of methods. A method is data: which output loss, which feature loss, and their settings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from trainables.losses.settings import COARSE_NORMS, GATES, REDUCTIONS, check_group_size


@dataclass(frozen=True, kw_only=True)
class Method:
    """L = lambda_diff * L_diff + lambda_out * L_output + lambda_feat * L_feat (trainables/README.md, The objective).

    A setting that does not apply to the method is None, so that equal members have equal methods.
    """

    name: str
    output: str = "none"  # none | mse | lift | lift_place | dist
    feature: str = "none"  # none | fitnet | block | masked: a setting of the methods that compare features
    lambda_diff: float = 1.0
    lambda_out: float | None = None
    lambda_feat: float | None = None
    group_size: int | None = None  # elements per group (K)
    coarse_norm: str | None = None
    gate: str | None = None
    eps: float | None = None
    reduction: str = "sum"
    feat_schedule: str = "constant"  # of lambda_feat over training: constant, or linear to 0
    assistant: str | None = None  # the name of a teacher in between (TAKD)

    def identity(self) -> dict[str, Any]:
        """What ids hash; an assistant's content is the member's to hash."""
        return {key: value for key, value in asdict(self).items() if key != "assistant"}

    @property
    def needs_teacher(self) -> bool:
        return self.output != "none" or self.feature != "none"

    @property
    def fits_lines(self) -> bool:
        return self.output in ("lift", "lift_place")


METHODS = {
    method.name: method
    for method in (
        Method(name="diffusion_only"),
        Method(name="out_kd", output="mse"),
        Method(name="feat_kd", feature="fitnet"),
        Method(name="out_feat_kd", output="mse", feature="fitnet"),
        Method(name="dist", output="dist"),
        Method(name="lift", output="lift"),
        Method(name="lift_place", output="lift_place"),
        Method(name="lift_feat", output="lift", feature="fitnet"),
        Method(name="lift_place_feat", output="lift_place", feature="fitnet"),
    )
}

SETTINGS = tuple(field.name for field in fields(Method) if field.name not in ("name", "output", "assistant"))


FEATURES = ("fitnet", "block", "masked")
FEAT_SCHEDULES = ("constant", "linear")
_CHOICES = {
    "coarse_norm": COARSE_NORMS,
    "gate": GATES,
    "reduction": REDUCTIONS,
    "feature": FEATURES,
    "feat_schedule": FEAT_SCHEDULES,
}


def make_method(name: str, settings: Mapping[str, Any], *, num_elements: int) -> Method:
    """The method of that name under the given settings, those that do not apply left out.

    settings: values for SETTINGS (a recipe, overridden by what a user chose). num_elements: H*W of an output channel.
    Raises ValueError that names the key, the value and what is allowed.
    """
    if name not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)} but got {name!r}")
    for key in settings:
        if key not in SETTINGS:
            raise ValueError(f"method.{key} is not a setting of a method; allowed: {', '.join(SETTINGS)}")
    method = METHODS[name]
    applicable = ["lambda_diff", "reduction"]
    applicable += ["lambda_out"] if method.output != "none" else []
    applicable += ["feature", "lambda_feat", "feat_schedule"] if method.feature != "none" else []
    applicable += ["group_size", "coarse_norm", "gate", "eps"] if method.fits_lines else []
    chosen = {key: settings[key] for key in applicable if key in settings}
    if method.output == "lift":
        chosen["group_size"] = num_elements
    method = replace(method, **chosen)
    _check(method, applicable, num_elements)
    return method


def via(method: Method, assistant: str) -> Method:
    """The method from teacher to assistant and from assistant to student (TAKD, Mirzadeh et al. 2020).

    Raises ValueError for a method that learns from no teacher.
    """
    if not method.needs_teacher:
        raise ValueError(
            f"methods: {method.name} learns from no teacher, so it takes no assistant but got {assistant!r}"
        )
    return replace(method, name=f"{method.name}_via_{assistant}", assistant=assistant)


def _check(method: Method, applicable: list[str], num_elements: int) -> None:
    for key in applicable:
        value = getattr(method, key)
        allowed = _CHOICES.get(key)
        if allowed is not None:
            if value not in allowed:
                raise ValueError(f"method.{key} must be one of {', '.join(allowed)} but got {value!r}")
        elif key == "group_size":
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"method.group_size must be a whole number but got {value!r}")
            check_group_size(value, num_elements)
        elif not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise ValueError(f"method.{key} must be a number of 0 or more but got {value!r}")

"""The table of methods. A method is data: which output loss, which feature loss, and their settings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trainables import plugins
from trainables.checks import require_choice
from trainables.losses.own_loss import own_settings
from trainables.losses.settings import COARSE_NORMS, GATES, REDUCTIONS, check_group_size


@dataclass(frozen=True, kw_only=True)
class Method:
    """L = lambda_diff * L_diff + lambda_out * L_output + lambda_feat * L_feat (trainables/README.md, The objective).

    A setting that does not apply to the method is None, so that equal members have equal methods.
    """

    name: str
    output: str = "none"  # none | mse | lift | lift_place | dist | module:name
    feature: str = "none"  # none | fitnet | block | masked | module:name: a setting of methods that compare features
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
    own: tuple[tuple[str, Any], ...] = ()  # settings of an output loss of the user's, by name
    code: Mapping[str, str] = field(init=False, hash=False)  # digests of the user's code, by module:name

    def __post_init__(self) -> None:
        paths = [path for path in (self.output, self.feature) if plugins.is_path(path)]
        object.__setattr__(self, "code", {path: plugins.code_digest(path) for path in paths})

    def identity(self) -> dict[str, Any]:
        """What ids hash; an assistant's content is the member's to hash."""
        built_in = {key: value for key, value in asdict(self).items() if key not in ("assistant", "own", "code")}
        return built_in | ({"own": dict(self.own)} if self.own else {}) | ({"code": self.code} if self.code else {})

    @property
    def needs_teacher(self) -> bool:
        return self.output != "none" or self.feature != "none"

    @property
    def fits_lines(self) -> bool:
        return self.output in ("lift", "lift_place")

    @property
    def settings(self) -> dict[str, Any]:
        """What can be set of it, and to what it is set."""
        return {key: getattr(self, key) for key in SETTINGS if getattr(self, key) is not None} | dict(self.own)


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

_NOT_SET = ("name", "output", "assistant", "own", "code")
SETTINGS = tuple(field.name for field in fields(Method) if field.name not in _NOT_SET)

OUTPUTS = ("none", "mse", "lift", "lift_place", "dist")
FEATURES = ("fitnet", "block", "masked")
FEAT_SCHEDULES = ("constant", "linear")
_CHOICES = {
    "coarse_norm": COARSE_NORMS,
    "gate": GATES,
    "reduction": REDUCTIONS,
    "feat_schedule": FEAT_SCHEDULES,
}


def find_method(name: str, own: Mapping[str, Method]) -> Method:
    """The method of that name: of the table, of those that the user's config defines (`own`), or installed.

    Raises ValueError that names what is allowed.
    """
    if name in own:
        return own[name]
    path = plugins.path_of("method", "methods", name, tuple(METHODS))
    if path in METHODS:
        return METHODS[path]
    found = plugins.load("method", path)
    if not isinstance(found, Method):
        raise ValueError(f"method={name}: {path} must be a Method of trainables.losses.methods but is {found!r}")
    return replace(found, name=name.rpartition(":")[2])


def define_method(name: str, output: Any, feature: Any) -> Method:
    """A method of the user's: a name of its own, an output loss and a feature loss (None: none).

    Raises ValueError naming the key, the value and what is allowed.
    """
    if name in METHODS:
        raise ValueError(f"methods: {name} has its losses; a method with output or feature of yours needs another name")
    output = plugins.path_of("methods.output", "output_losses", output or "none", OUTPUTS)
    feature = "none" if feature in (None, "none") else _feature("methods.feature", feature)
    if output == feature == "none":
        raise ValueError(f"methods: {name} must have an output loss or a feature loss but has neither")
    if plugins.is_path(output):
        own_settings(output)  # refuses what is no loss
    return Method(name=name, output=output, feature=feature)


def make_method(
    name: str, settings: Mapping[str, Any], *, num_elements: int, own: Mapping[str, Method] | None = None
) -> Method:
    """The method of that name under the given settings, those that do not apply left out.

    settings: values for SETTINGS and for those of the user's output loss (a recipe, overridden by what a user chose).
    num_elements: H*W of an output channel. own: methods that the user's config defines.
    Raises ValueError that names the key, the value and what is allowed.
    """
    method = find_method(name, own or {})
    of_output = own_settings(method.output) if plugins.is_path(method.output) else {}
    for key in settings:
        if key not in SETTINGS and key not in of_output:
            allowed = ", ".join((*SETTINGS, *of_output))
            raise ValueError(f"method.{key} is not a setting of a method; allowed: {allowed}")
    applicable = ["lambda_diff", "reduction"]
    applicable += ["lambda_out"] if method.output != "none" else []
    applicable += ["feature", "lambda_feat", "feat_schedule"] if method.feature != "none" else []
    applicable += ["group_size", "coarse_norm", "gate", "eps"] if method.fits_lines else []
    chosen = {key: settings[key] for key in applicable if key in settings}
    if plugins.is_path(method.feature):
        chosen["feature"] = method.feature  # that of the method, and not the recipe's
    if method.output == "lift":
        chosen["group_size"] = num_elements
    if "feature" in chosen:
        chosen["feature"] = _feature("method.feature", chosen["feature"])
    given = {key: settings.get(key, default) for key, default in of_output.items()}
    method = replace(method, **chosen, own=tuple(sorted(given.items())))
    _check(method, applicable, num_elements)
    return method


def _feature(key: str, value: Any) -> str:
    return plugins.path_of(key, "feature_losses", value, FEATURES)


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
    for key, value in method.own:
        if value is not None and not isinstance(value, str | int | float):
            raise ValueError(f"method.{key} must be a number, text, true or false but got {value!r}")
    for key in applicable:
        if key == "feature":
            continue
        value = getattr(method, key)
        allowed = _CHOICES.get(key)
        if allowed is not None:
            require_choice(f"method.{key}", value, allowed)
        elif key == "group_size":
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"method.group_size must be a whole number but got {value!r}")
            check_group_size(value, num_elements)
        elif not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise ValueError(f"method.{key} must be a number of 0 or more but got {value!r}")

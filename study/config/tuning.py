"""protocol=search and protocol=tuned as frozen dataclasses, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces import Space, load_space, merge, num_settings
from search_spaces.reader import space_names
from search_spaces.samplers import MULTI_OBJECTIVE, add_sampler, require_sampler
from trainables import plugins
from trainables.checks import check_keys, require_choice, require_keys, require_number, require_text, require_whole
from trainables.losses.methods import METHODS, Method, make_method

# What a member trains with besides its method; steps and batch_size are the budget, which is the same for every trial.
TRAIN_SETTINGS = ("train.lr", "train.ema_decay", "train.max_grad_norm", "train.lr_schedule", "train.optimiser")
SCORES = ("mean", "mean_std", "worst", "pareto")
STOPPING_RULES = ("none", "median", "asha")


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """When a search member is stopped: at the rungs `steps`, by its FID over num_images images."""

    rule: str
    steps: tuple[int, ...]
    num_images: int
    keep: float

    def __post_init__(self) -> None:
        require_choice("protocol.early_stopping.rule", self.rule, STOPPING_RULES)
        for step in self.steps:
            require_whole("protocol.early_stopping.steps", step, 1)
        if self.rule != "none" and (not self.steps or list(self.steps) != sorted(set(self.steps))):
            raise ValueError(f"protocol.early_stopping.steps must be ascending steps but got {list(self.steps)}")
        require_whole("protocol.early_stopping.num_images", self.num_images, 2)
        require_number("protocol.early_stopping.keep", self.keep, above=0, below=1)


@dataclass(frozen=True, kw_only=True)
class SequentialSeeds:
    """Confirm seeds are added one at a time until it is decided which of two methods is better (compare)."""

    compare: tuple[str, ...]
    first: int
    alpha: float

    def __post_init__(self) -> None:
        require_whole("protocol.sequential_seeds.first", self.first, 2)
        require_number("protocol.sequential_seeds.alpha", self.alpha, above=0, below=1)
        if len(set(self.compare)) != 2:
            raise ValueError(f"protocol.sequential_seeds.compare must be two methods but got {list(self.compare)}")


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """An equal search budget for every (teacher, method), and the seeds on which the best settings are confirmed."""

    name: str  # search or tuned
    spaces: Mapping[str, Space]  # by method
    teachers: tuple[str, ...]
    num_trials: int
    trials_per_round: int
    search_seeds: tuple[int, ...]
    confirm_seeds: tuple[int, ...]
    score: str
    std_weight: float
    sampler: str
    sampler_seed: int
    startup_trials: int
    recipe_first: bool
    early_stopping: EarlyStopping | None
    sequential_seeds: SequentialSeeds | None

    def __post_init__(self) -> None:
        for key, low in (("num_trials", 1), ("trials_per_round", 1), ("sampler_seed", 0), ("startup_trials", 1)):
            require_whole(f"protocol.{key}", getattr(self, key), low)
        require_choice("protocol.score", self.score, SCORES)
        require_number("protocol.std_weight", self.std_weight, at_least=0)
        if plugins.is_path(self.sampler):
            add_sampler(self.sampler, plugins.load("protocol.sampler", self.sampler))
        require_sampler(self.sampler)
        self._check_seeds()
        self._check_score()
        for method, space in self.spaces.items():
            if num_settings(space) < self.num_trials:
                raise ValueError(
                    f"protocol.num_trials must be at most {num_settings(space):g}, the settings that the space of"
                    f" {method} holds, but got {self.num_trials}"
                )
        if self.sequential_seeds is not None:
            for method in self.sequential_seeds.compare:
                require_choice("protocol.sequential_seeds.compare", method, tuple(self.spaces))
            require_whole("protocol.sequential_seeds.first", self.sequential_seeds.first, 2, len(self.confirm_seeds))

    def _check_seeds(self) -> None:
        for key in ("search_seeds", "confirm_seeds"):
            seeds = getattr(self, key)
            for seed in seeds:
                require_whole(f"protocol.{key}", seed, 0)
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"protocol.{key} must be distinct but got {list(seeds)}")
        shared = sorted(set(self.search_seeds) & set(self.confirm_seeds))
        if shared:
            raise ValueError(f"protocol.confirm_seeds must be fresh but {shared[0]} is among protocol.search_seeds")
        if not self.search_seeds or (self.name == "tuned" and not self.confirm_seeds):
            key = "confirm_seeds" if self.search_seeds else "search_seeds"
            raise ValueError(f"protocol.{key} must be a list with at least one seed but got []")

    def _check_score(self) -> None:
        if self.score in ("mean_std", "pareto") and len(self.search_seeds) < 2:
            raise ValueError(
                f"protocol.search_seeds must be two or more for protocol.score={self.score} but got"
                f" {list(self.search_seeds)}"
            )
        if self.score == "pareto" and self.sampler not in MULTI_OBJECTIVE:
            raise ValueError(
                f"protocol.sampler must be one of {', '.join(MULTI_OBJECTIVE)} for protocol.score=pareto"
                f" but got {self.sampler!r}"
            )


KEYS = [
    *("methods", "teachers", "num_trials", "trials_per_round", "search_seeds", "confirm_seeds", "score", "std_weight"),
    *("sampler", "sampler_seed", "startup_trials", "recipe_first", "shared_space"),
    *("early_stopping", "sequential_seeds"),
]


def make_tuning(
    raw: Mapping[str, Any],
    search_space: Any,
    *,
    recipe: Mapping[str, Any],
    teachers: list[str],
    num_elements: int,
    own: Mapping[str, Method],
) -> TuningConfig:
    """The tuning of a composed protocol: `raw` has `name` and the KEYS.

    search_space: None, a space, or spaces by method. recipe: settings that every method takes. teachers: of the study.
    num_elements: H*W of an output channel. own: methods that the config defines.
    """
    require_keys("protocol", raw, KEYS)
    methods = _methods("protocol.methods", raw["methods"], own)
    chosen = teachers if raw["teachers"] is None else _texts("protocol.teachers", raw["teachers"], teachers)
    if not isinstance(raw["recipe_first"], bool):
        raise ValueError(f"protocol.recipe_first must be true or false but got {raw['recipe_first']!r}")
    known = {name: make_method(name, recipe, num_elements=num_elements, own=own) for name in methods}
    spaces = _spaces(known, search_space, raw["shared_space"], num_elements)
    for name, space in spaces.items():
        _check_applicable(known[name], space)
    same = ("num_trials", "trials_per_round", "score", "std_weight", "sampler", "sampler_seed", "startup_trials")
    return TuningConfig(
        name=raw["name"],
        spaces=spaces,
        teachers=tuple(chosen),
        search_seeds=_seeds("protocol.search_seeds", raw["search_seeds"]),
        confirm_seeds=_seeds("protocol.confirm_seeds", raw["confirm_seeds"]),
        recipe_first=raw["recipe_first"],
        early_stopping=_early_stopping(raw["early_stopping"]),
        sequential_seeds=_sequential_seeds(raw["sequential_seeds"], own),
        **{key: raw[key] for key in same},
    )


def _spaces(methods: Mapping[str, Method], search_space: Any, shared: Any, num_elements: int) -> dict[str, Space]:
    by_method: Any = dict.fromkeys(methods) if search_space is None else search_space
    if isinstance(search_space, str):
        by_method = dict.fromkeys(methods, search_space)
    if not isinstance(by_method, Mapping):
        raise ValueError(f"search_space must be null, a space or spaces by method but got {search_space!r}")
    for method in by_method:
        require_choice("search_space", method, tuple(methods))
    spaces = {}
    for method, made in methods.items():
        name = by_method.get(method) or _default_space(made)
        space = load_space(require_text("search_space", name, "a name or a path"), num_elements=num_elements)
        if shared is not None:
            name = require_text("protocol.shared_space", shared, "null, the name of a space or a path")
            space = merge(space, load_space(name, num_elements=num_elements))
        spaces[method] = space
    return spaces


def _default_space(method: Method) -> str:
    """That of the method's name; one of the user's own is searched like the method of the table with as many losses."""
    if method.name in METHODS or method.name in space_names():
        return method.name
    parts = ["out"] * (method.output != "none") + ["feat"] * (method.feature != "none")
    return "_".join([*parts, "kd"]) if parts else "diffusion_only"


def _check_applicable(method: Method, space: Space) -> None:
    allowed = [*method.settings, *TRAIN_SETTINGS]
    if method.output == "lift":
        allowed.remove("group_size")  # LIFT without PLACE has one group
    for key in space.names:
        if key not in allowed:
            raise ValueError(
                f"search_space.{key} of {space.name} is not a setting of {method.name}; allowed: {', '.join(allowed)}"
            )


def _early_stopping(raw: Any) -> EarlyStopping | None:
    fields = _fields("protocol.early_stopping", raw, ("rule", "steps", "num_images", "keep"))
    made = EarlyStopping(**{**fields, "steps": _seeds("protocol.early_stopping.steps", fields["steps"])})
    return None if made.rule == "none" else made


def _sequential_seeds(raw: Any, own: Mapping[str, Method]) -> SequentialSeeds | None:
    fields = _fields("protocol.sequential_seeds", raw, ("compare", "first", "alpha"))
    if fields["compare"] is None:
        return None
    compare = _methods("protocol.sequential_seeds.compare", fields["compare"], own)
    return SequentialSeeds(compare=tuple(compare), first=fields["first"], alpha=fields["alpha"])


def _fields(key: str, raw: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Exactly these keys and their values."""
    check_keys(key, require_keys(key, raw, names), names)
    return dict(raw)


def _methods(key: str, value: Any, own: Mapping[str, Method]) -> list[str]:
    """Names of methods, in a list."""
    return _texts(key, value, (*METHODS, *own, *plugins.installed("methods")))


def _texts(key: str, value: Any, allowed: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{key} must be a list with at least one entry but got {value!r}")
    for entry in value:
        require_choice(key, entry, allowed)
    if len(set(value)) < len(value):
        raise ValueError(f"{key} must be distinct but got {value}")
    return value


def _seeds(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{key} must be a list but got {value!r}")
    return tuple(value)

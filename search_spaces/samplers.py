"""Optuna's samplers by name."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable

import optuna
from optuna.samplers import BaseSampler


def _tpe(seed: int, startup: int) -> BaseSampler:
    # constant_liar: the trials of a round are asked for before any of them is known.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)


def _random(seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


def _qmc(seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)


def _gp(seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)


def _cmaes(seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)


def _nsga2(seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(2, startup))


SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "qmc": _qmc,  # the numeric settings; categorical ones are drawn at random
    "gp": _gp,
    "cmaes": _cmaes,  # the numeric settings; categorical ones are drawn at random
    "nsga2": _nsga2,
}
MULTI_OBJECTIVE = ("tpe", "random", "qmc", "gp", "nsga2")
_PACKAGES = {"gp": "torch", "cmaes": "cmaes"}  # what a sampler needs besides Optuna


def add_sampler(name: str, make: Callable[[int, int], BaseSampler]) -> None:
    """One of a user's own, of a seed and a number of startup trials. Raises ValueError where it makes no sampler."""
    made = make(0, 1)
    if not isinstance(made, BaseSampler):
        raise ValueError(f"protocol.sampler={name} must make a sampler of Optuna but made {made!r}")
    SAMPLERS[name] = make


def require_sampler(name: str) -> None:
    """Raises ValueError unless there is a sampler of that name and the package that it needs."""
    if name not in SAMPLERS:
        raise ValueError(f"protocol.sampler must be one of {', '.join(SAMPLERS)} but got {name!r}")
    package = _PACKAGES.get(name)
    if package is not None and importlib.util.find_spec(package) is None:
        raise ValueError(f"protocol.sampler={name} needs the package {package}: pip install {package}")


def make_sampler(name: str, *, seed: int, startup: int) -> BaseSampler:
    """The sampler of that name. startup: trials before it begins to learn (nsga2: its population)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[name](seed, startup)

"""One Optuna study alone: suggestions replay, nothing twice, and a noisy objective with a known optimum."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from search_spaces import Space, load_space
from search_spaces.optuna_study import MethodStudy
from search_spaces.samplers import MULTI_OBJECTIVE, SAMPLERS, make_sampler, require_sampler
from study.search.outcomes import objectives, scalar_score

INSTALLED = [name for name in SAMPLERS if name != "cmaes" or find_spec("cmaes")]


@pytest.fixture
def line(tmp_path: Path) -> Space:
    path = tmp_path / "line.yaml"
    path.write_text("x: {kind: float, low: 0.0, high: 1.0}\n")
    return load_space(str(path), num_elements=64)


def mean_fid(x: float) -> float:
    """A sharp and deeper optimum at 0.25, a wide one at 0.75."""
    return 40 - 20 * math.exp(-(((x - 0.25) / 0.06) ** 2)) - 17 * math.exp(-(((x - 0.75) / 0.15) ** 2))


def std_fid(x: float) -> float:
    """Around the sharp optimum a seed moves the FID ten times as far."""
    return 1 + 9 * math.exp(-(((x - 0.25) / 0.12) ** 2))


def chosen(line: Space, repeat: int, score: str, *, num_trials: int = 24, num_seeds: int = 4) -> float:
    """x of the best trial of one whole search, each trial scored over num_seeds noisy tries."""
    generator = np.random.default_rng(repeat)
    study = MethodStudy(line, sampler="tpe", seed=repeat, startup=8, num_objectives=2 if score == "pareto" else 1)
    scored = []
    for _ in range(num_trials // 4):
        for suggestion in study.ask(4):
            x = suggestion.settings["x"]
            fids = list(mean_fid(x) + std_fid(x) * generator.standard_normal(num_seeds))
            study.tell(suggestion, objectives(fids, score, 1.0), {})
            scored.append((scalar_score(fids, score, 1.0), x))
    assert len(scored) == num_trials  # the budget, exactly, in every repeat and under every score
    return min(scored)[1]


@pytest.mark.parametrize("score", ["mean_std", "worst", "pareto"])
def test_a_score_with_spread_picks_the_stable_optimum(line: Space, score: str) -> None:
    picked = [chosen(line, repeat, score) for repeat in range(10)]
    assert sum(abs(x - 0.75) < 0.2 for x in picked) >= 9


def test_the_mean_alone_is_drawn_to_the_sharp_optimum(line: Space) -> None:
    """Else the test above would show nothing about the score."""
    picked = [chosen(line, repeat, "mean") for repeat in range(10)]
    assert sum(abs(x - 0.25) < 0.15 for x in picked) >= 4


def suggestions(space: Space, sampler: str, num_rounds: int, *, seed: int = 3) -> list[dict[str, Any]]:
    study = MethodStudy(space, sampler=sampler, seed=seed, startup=3)
    found = []
    for _ in range(num_rounds):
        for suggestion in study.ask(3):
            found.append(dict(suggestion.settings))
            fid = sum(value for value in suggestion.settings.values() if isinstance(value, float))
            study.tell(suggestion, [fid], {})
    return found


@pytest.mark.parametrize("sampler", INSTALLED)
def test_the_same_seed_suggests_the_same(sampler: str) -> None:
    space = load_space("out_feat_kd" if sampler == "gp" else "lift_place_feat", num_elements=64)  # gp: for its speed
    first = suggestions(space, sampler, 3)
    assert suggestions(space, sampler, 3) == first
    assert suggestions(space, sampler, 2) == first[:6]
    assert len({repr(settings) for settings in first}) == 9
    if sampler != "qmc":  # a low-discrepancy sequence begins near the same corner for every seed
        assert suggestions(space, sampler, 3, seed=4) != first


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_small_space_is_emptied_without_a_setting_twice_and_then_refused(sampler: str, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("k: {kind: divisor, low: 4}\nnorm: {kind: categorical, choices: [l1, l2]}\n")
    study = MethodStudy(load_space(str(path), num_elements=64), sampler=sampler, seed=0, startup=2)
    numbers, seen = [], set()
    for suggestion in study.ask(10):
        numbers.append(suggestion.number)
        seen.add(repr(suggestion.settings))
        study.tell(suggestion, [1.0], {})
    assert numbers == list(range(10))
    assert len(seen) == 10
    with pytest.raises(ValueError, match="10 trials are all that differ"):
        study.ask(1)


@pytest.mark.parametrize("sampler", INSTALLED)
@pytest.mark.parametrize("score", ["mean_std", "pareto"])
def test_members_that_diverge_never_hang_a_trial(line: Space, sampler: str, score: str) -> None:
    if score == "pareto" and sampler not in MULTI_OBJECTIVE:
        pytest.skip("has one objective")
    study = MethodStudy(line, sampler=sampler, seed=0, startup=2, num_objectives=2 if score == "pareto" else 1)
    for number in range(3):
        for suggestion in study.ask(2):
            fids = [math.nan, 3.0] if number % 2 == 0 else [math.inf, math.inf]
            study.tell(suggestion, objectives(fids, score, 1.0), {})
    states = [trial.state for trial in study.study.trials]
    assert states.count(TrialState.COMPLETE) == 6
    assert set(states) <= {TrialState.COMPLETE, TrialState.FAIL}  # failed: suggested again, and so asked again


def test_the_first_trial_can_be_given(line: Space) -> None:
    study = MethodStudy(line, sampler="tpe", seed=0, startup=2, first={"x": 0.125})
    assert study.ask(2)[0].settings == {"x": 0.125}


def test_scores() -> None:
    assert objectives([1.0, 3.0], "mean", 1.0) == (2.0,)
    assert objectives([1.0, 3.0], "mean_std", 2.0) == pytest.approx((2.0 + 2.0 * math.sqrt(2),))
    assert objectives([1.0, 3.0], "worst", 1.0) == (3.0,)
    assert objectives([1.0, 3.0], "pareto", 1.0) == pytest.approx((2.0, math.sqrt(2)))
    assert objectives([1.0, 5000.0], "worst", 1.0) == (5000.0,)  # collapsed: its FID
    assert objectives([1.0, math.inf], "mean", 1.0) == (math.inf,)
    assert objectives([1.0, math.nan], "pareto", 1.0) == (math.inf, math.inf)
    assert scalar_score([1.0, 3.0], "pareto", 1.0) == objectives([1.0, 3.0], "mean_std", 1.0)[0]


def test_a_sampler_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"protocol\.sampler=cmaes needs the package cmaes: pip install cmaes"):
        require_sampler("cmaes")
    with pytest.raises(ValueError, match=r"protocol\.sampler must be one of tpe, random, qmc, gp, cmaes, nsga2"):
        require_sampler("grid")


def test_every_sampler_is_made_without_a_warning() -> None:
    made = {type(make_sampler(name, seed=0, startup=2)).__name__.lower() for name in INSTALLED}
    assert made >= {"tpesampler", "randomsampler", "qmcsampler", "gpsampler", "nsgaiisampler"}
    assert len(made) == len(INSTALLED)

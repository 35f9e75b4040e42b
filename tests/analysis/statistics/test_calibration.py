"""The tests keep their promises: the shipped calibration, a fresh small simulation that agrees, and power."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_study import make_row, write_study

from analysis.statistics import covariances
from analysis.statistics.calibrated_tests import family_rates, paired_rates, power_rates
from analysis.statistics.calibration import NUM_SEEDS, Calibration, cases, main, shipped
from analysis.statistics.covariances import seed_effects
from analysis.statistics.power import design_power, fit_pair, monotone, paired_p, seeds_needed, shipped_pair
from analysis.statistics.simulated import SeedEffects, draw, hard_effects

HARD = hard_effects()
EASY = replace(HARD, hard_rate=0.0)
# Where a test is known not to hold its level, as analysis/README.md says, and how far it goes there.
KNOWN = {"20% collapse, both": 0.095, "independent tries, 20% collapse, both": 0.075}


def test_the_shipped_calibration_has_every_case_and_number_of_seeds() -> None:
    errors = {(one.case, one.num_seeds) for one in shipped() if one.name == "mean of the primary pair"}
    assert errors == {(case.name, n) for case in cases() for n in NUM_SEEDS}


def test_errors_stay_at_their_level_but_where_the_documents_say_otherwise() -> None:
    limits = {one: KNOWN.get(one.case, 0.058) for one in shipped() if one.kind == "error"}
    assert [one for one, limit in limits.items() if "equal means" not in one.case and one.rate > limit] == []
    assert all(one.holds == (one.rate <= 0.055) for one in limits)


def test_unequal_collapses_at_equal_means_are_said_not_to_hold() -> None:
    found = [one for one in shipped() if one.case == "10% collapse, one side, equal means"]
    assert found
    assert not any(one.holds for one in found)


def test_the_paired_spread_test_finds_what_the_unpaired_one_does_not() -> None:
    rates = {(one.name, one.num_seeds): one.rate for one in shipped() if one.kind == "power"}
    for n, least in ((10, 0.29), (20, 0.58), (40, 0.87)):
        assert rates["spread of the primary pair", n] > least
        assert rates["spread, permuted (ignores the pairing)", n] < 0.1


def test_a_fresh_small_simulation_agrees_with_what_is_shipped() -> None:
    known = {(one.case, one.name, one.num_seeds): one.rate for one in shipped()}
    generator = np.random.default_rng(1)
    for _, name, rate in paired_rates(HARD, (0.0, 0.0), 10, generator, 1500):
        assert rate == pytest.approx(known["shared seeds, 20% hard", name, 10], abs=0.025)
    for _, name, rate in power_rates(20, generator, 1500):
        assert rate == pytest.approx(known["spread ratio 0.6, 20% hard", name, 20], abs=0.06)
    for _, name, rate in family_rates(EASY, (0.0, 0.0), 6, generator, 200):
        assert rate <= 0.1 if name.startswith("any") else rate >= 0.9


def test_help_starts_nothing_and_a_bad_value_ends_in_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    started = time.perf_counter()
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "rates.json"), "--replicates", "3"])
    assert ended.value.code == 2
    assert "--replicates must be at least 40 but got 3" in capsys.readouterr().err
    assert time.perf_counter() - started < 2
    assert not list(tmp_path.iterdir())


def test_seed_effects_are_found_again() -> None:
    effects = SeedEffects(
        std=5.0, share_seed=0.5, share_method=0.2, share_teacher=0.1, hard_rate=0.2, hard_low=100.0, hard_high=100.0
    )
    found = seed_effects(draw(effects, (1, 6, 4, 3000), np.random.default_rng(0))[0])
    assert found.std == pytest.approx(5.0, rel=0.05)
    assert (found.share_seed, found.share_method, found.share_teacher) == pytest.approx((0.5, 0.2, 0.1), abs=0.03)
    assert found.hard_rate == pytest.approx(0.2, abs=0.02)
    assert found.hard_low == pytest.approx(100, abs=1)
    with pytest.raises(ValueError, match="three easy seeds"):
        seed_effects(np.zeros((2, 2, 2)))


def test_design_power_is_monotone_fast_and_says_what_five_seeds_cannot_show() -> None:
    started = time.process_time()
    generator = np.random.default_rng(0)
    designs = [design_power(shipped_pair(3, generator), num_seeds=n, generator=generator) for n in (2, 5, 20, 40)]
    assert time.process_time() - started < 8
    for one in designs:
        for powers in (one.mean, one.spread):
            assert [value for _, value in powers] == sorted(value for _, value in powers)
    assert (designs[0].smallest_difference, designs[0].smallest_ratio) == (None, None)
    assert designs[1].smallest_ratio is None
    assert designs[2].smallest_ratio is not None
    assert designs[3].smallest_ratio is not None
    assert designs[3].smallest_ratio >= designs[2].smallest_ratio


def test_seeds_needed_of_the_own_rows() -> None:
    generator = np.random.default_rng(0)
    seed = generator.normal(0, 10, (2, 1, 30))
    noise = generator.normal(0, 1, (2, 1, 30))
    a, b = 100 + seed[0] + noise[0], 101 + seed[0] + noise[1]
    needed = seeds_needed(fit_pair(a, b), "mean", generator)
    # a paired difference of 1 with a std of sqrt(2) needs 18 pairs by the t test's power; without the pairing 1571
    assert needed is not None
    assert 12 <= needed <= 30
    assert seeds_needed(fit_pair(a, a), "mean", generator) is None


def test_a_pool_keeps_the_medians_and_the_ratio_apart() -> None:
    fid = draw(EASY, (1, 2, 2, 2000), np.random.default_rng(0))[0]
    model = fit_pair(fid[0] * 0.5, fid[1])
    assert model.ratio == pytest.approx(0.5, rel=0.05)
    assert model.pool.mean(axis=-1) == pytest.approx(np.zeros((2, 2)), abs=1e-9)
    spreads = np.abs(model.pool - np.median(model.pool, axis=-1, keepdims=True)).mean(axis=-1)
    assert spreads[0] == pytest.approx(spreads[1])
    a, b = model.draw(3, 400, np.random.default_rng(1), difference=7.0, ratio=0.5)
    assert a.shape == b.shape == (3, 2, 400)
    assert a.mean() - b.mean() == pytest.approx(7.0, abs=0.5)
    assert (paired_p("spread", a, b, np.random.default_rng(2)) < 0.01).all()


def test_monotone_is_the_closest_sequence_that_never_falls() -> None:
    assert monotone([0.2, 0.5, 0.3, 0.9]) == pytest.approx([0.2, 0.4, 0.4, 0.9])


def test_rates_say_whether_they_hold() -> None:
    assert all(isinstance(one, Calibration) and one.kind in ("error", "coverage", "power") for one in shipped())


def test_the_command_prints_the_seed_effects_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    rows = [
        make_row(method, teacher, seed, 50 + 10 * seed + float(generator.normal()))
        for method in ("out_kd", "lift") for teacher in ("small", "large") for seed in range(6)
    ]  # fmt: skip
    assert covariances.main([str(write_study(tmp_path / "two", rows, curves=False))]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == set(SeedEffects.__dataclass_fields__)
    assert found["std"] == pytest.approx(10 * np.std(range(6), ddof=1), rel=0.1)
    assert found["share_seed"] > 0.9
    one = write_study(tmp_path / "one", [row for row in rows if row["teacher"] == "small"], curves=False)
    assert covariances.main([str(one)]) == 2
    error = capsys.readouterr().err
    assert error == "study_dir must hold two methods, two teachers and three easy seeds but has 2, 1 and 6\n"

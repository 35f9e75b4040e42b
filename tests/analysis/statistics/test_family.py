"""The declared sequence: order, gate, step-down among the others, equivalence, and what is never claimed."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.records.cells import group_cells
from analysis.records.published import published_runs
from analysis.statistics.common_seeds import Tries, common_tries
from analysis.statistics.family import Family, Hypothesis, family_of


def made(fid: np.ndarray, collapse_fid: float = 300.0) -> Tries:
    methods, teachers, n = fid.shape
    return Tries(
        methods=tuple("abcdefgh"[:methods]), teachers=tuple("xyz"[:teachers]), gaps=np.arange(1.0, teachers + 1),
        seeds=tuple(range(n)), fid=fid, collapsed=~(fid <= collapse_fid), num_left_out=0, left_out=(), paired=True,
    )  # fmt: skip


def declared(fid: np.ndarray, **options: object) -> Family:
    return family_of(made(fid), baseline="a", primary=("b", "a"), generator=np.random.default_rng(0), **options)  # type: ignore[arg-type]


def one(family: Family, stage: str) -> Hypothesis:
    return next(h for h in family.hypotheses if h.stage == stage)


@pytest.mark.parametrize("n", [6, 7, 8, 10, 11])
def test_eight_methods_a_thousand_points_apart_are_told_apart_at_every_number_of_seeds(n: int) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (8, 1, n)) * np.array([5, 0.01, 1, 1, 1, 1, 1, 1])[:, None, None]
    noise[0] = np.linspace(-40, 40, n)  # the primary pair differs in spread too, so that the sequence goes on
    family = declared(1000.0 * np.arange(8)[:, None, None] + noise)
    means = [h for h in family.hypotheses if h.kind == "mean" and h.stage != "descriptive"]
    assert len(means) == 7
    assert all(h.supported for h in means)
    assert all(h.p == pytest.approx(2.0 ** (1 - n)) for h in means)


def test_nothing_after_a_step_that_is_not_supported_is_supported() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (3, 2, 10))
    noise[1] = -noise[0]  # the primary pair spreads alike
    family = declared(noise + np.array([50.0, 20.0, 30.0])[:, None, None])
    assert one(family, "primary mean").supported
    assert family.closed_by == one(family, "primary spread")
    largest = one(family, "primary at the largest teacher")
    assert largest.p < 0.01
    assert largest.p_adjusted == family.closed_by.p_adjusted > 0.05
    assert not any(h.supported for h in family.hypotheses if h.stage in ("others", "descriptive"))
    assert all(np.isnan(h.p_adjusted) for h in family.hypotheses if h.stage == "descriptive")


def test_all_supported_where_all_differ() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 1, (3, 2, 20)) * np.array([20.0, 1.0, 5.0])[:, None, None]
    family = declared(noise + np.array([200.0, 20.0, 100.0])[:, None, None])
    assert family.closed_by is None
    assert all(h.supported for h in family.hypotheses if h.kind != "collapse" and h.stage != "descriptive")
    spread = one(family, "primary spread")
    assert spread.interval[0] < spread.estimate < spread.interval[1] < 0.5


def test_an_interval_excludes_no_difference_where_the_test_does() -> None:
    generator = np.random.default_rng(3)
    for shift in (0.0, 0.4, 0.8, 1.2):
        h = one(declared(generator.normal(0, 1, (2, 1, 9)) + np.array([0.0, shift])[:, None, None]), "primary mean")
        assert (h.p > 0.05) == (h.interval[0] <= 0 <= h.interval[1])


def test_equivalence_needs_the_whole_interval_within_the_margin() -> None:
    noise = np.random.default_rng(4).normal(0, 1, (2, 1, 12))
    assert one(declared(noise), "primary mean").equivalent is None
    assert one(declared(noise, margin=5.0), "primary mean").equivalent
    assert not one(declared(noise, margin=0.1), "primary mean").equivalent
    assert not one(declared(noise + np.array([0.0, 10.0])[:, None, None], margin=5.0), "primary mean").equivalent


def test_all_pairs_only_on_request() -> None:
    fid = np.random.default_rng(5).normal(0, 1, (4, 1, 8))
    pairs = {(h.a, h.b) for h in declared(fid).hypotheses}
    assert pairs == {("b", "a"), ("c", "a"), ("d", "a")}
    more = {(h.a, h.b) for h in declared(fid, all_pairs=True).hypotheses}
    assert more - pairs == {("b", "c"), ("b", "d"), ("c", "d")}


def test_five_seeds_are_tested_by_t_and_two_not_at_all() -> None:
    fid = np.random.default_rng(6).normal(0, 1, (2, 1, 5)) + np.array([0.0, 20.0])[:, None, None]
    assert one(declared(fid), "primary mean").supported
    family = declared(fid[..., :2])
    assert np.isnan(one(family, "primary mean").p)
    assert not any(h.supported for h in family.hypotheses)


@pytest.mark.parametrize("value", [0.0, 50.0, np.inf, np.nan])
@pytest.mark.parametrize("n", [2, 5, 8, 300])
def test_fids_that_tell_nothing_apart_support_nothing(value: float, n: int) -> None:
    assert not any(h.supported for h in declared(np.full((3, 2, n), value)).hypotheses)


def test_a_declared_method_must_be_there() -> None:
    fid = np.zeros((2, 1, 6))
    with pytest.raises(ValueError, match=r"must be one of a, b but got 'q'"):
        family_of(made(fid), baseline="q", primary=("b", "a"), generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match="two methods"):
        family_of(made(fid), baseline="a", primary=("a", "a"), generator=np.random.default_rng(0))


def test_table6_supports_lift_and_place_against_outkd_down_to_the_largest_teacher() -> None:
    pair = ("lift_place_feat", "out_kd")
    tries = common_tries(group_cells(published_runs("table6")), reference=pair, paired=False)
    assert tries is not None
    family = family_of(tries, baseline="out_kd", primary=pair, generator=np.random.default_rng(0))
    largest = one(family, "primary at the largest teacher")
    assert largest.p == largest.p_adjusted == pytest.approx(2 / 252)
    assert largest.supported
    other = ("lift_place_feat", "out_feat_kd")
    family = family_of(tries, baseline="out_kd", primary=other, generator=np.random.default_rng(0))
    assert one(family, "primary mean").supported
    assert family.closed_by == one(family, "primary spread")

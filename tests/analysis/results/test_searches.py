"""What the report says of a search: budgets counted in the rows, refusals, the winner's curse, and the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_study import make_row, search_rows, toy_rows, write_study

from analysis.records.rows import read_runs
from analysis.report.page_searches import budget_table, confirm_table, importance_table, notes, override_lines
from analysis.report.write import write_report
from analysis.results.compute import compute
from analysis.results.searches import Arm, best_so_far, importance, override_line, pareto_front, read_arms, unequal

SEARCH_SEEDS, CONFIRM_SEEDS = (1000, 1001), (0, 1, 2)


def log_float(low: float, high: float) -> list[Any]:
    attributes = {"step": None, "low": low, "high": high, "log": True}
    return [json.dumps({"name": "FloatDistribution", "attributes": attributes}), {}]


SPACE = {"lambda_out": log_float(0.01, 100.0), "train.lr": log_float(1e-5, 0.1)}
PROTOCOL = {
    "name": "tuned", "num_trials": 6, "score": "mean_std", "std_weight": 1.0, "sampler": "tpe",
    "early_stopping": None, "sequential_seeds": None,
}  # fmt: skip


def row(method: str, seed: int, fid: float | None, phase: str, lambda_out: float) -> dict[str, Any]:
    return make_row(method, "large", seed, fid, phase=phase, lambda_out=lambda_out)


def write_arm(
    study_dir: Path, method: str, fids: list[list[float | None]], *, confirmed: list[float | None],
    recipe_lambda: float = 1.0, **changes: Any,
) -> None:  # fmt: skip
    """One arm: trial i with FIDs fids[i], the best by mean + std chosen, confirmed on CONFIRM_SEEDS, recipe FID 60."""
    trials, rows = [], []
    for number, pair in enumerate(fids):
        found = [row(method, seed, fid, "search", 0.1 + number) for seed, fid in zip(SEARCH_SEEDS, pair, strict=True)]
        rows += found
        known = [fid for fid in pair if fid is not None]
        score = float(np.mean(known) + np.std(known, ddof=1)) if len(known) == len(pair) else None
        settings = {"lambda_out": 0.1 + number, "train.lr": 1e-3 * (1 + number % 2)}
        ids = [one["run_id"] for one in found]
        trial = {"number": number, "settings": settings, "run_ids": ids, "objectives": [score], "score": score}
        trials.append({**trial, "stopped": False})
    chosen = min((trial["score"], trial["number"]) for trial in trials if trial["score"] is not None)[1]
    fresh = [row(method, s, fid, "confirm", 0.1 + chosen) for s, fid in zip(CONFIRM_SEEDS, confirmed, strict=True)]
    recipe = [row(method, seed, 60.0 + seed, "grid", recipe_lambda) for seed in CONFIRM_SEEDS]
    write_study(study_dir, rows + fresh + recipe, curves=False)
    ledger = {
        "version": 1, "protocol_id": "p", "protocol": PROTOCOL, "teacher": "large", "teacher_id": "id-large",
        "method": method, "space": SPACE, "trials": trials, "chosen": chosen,
        "confirm_run_ids": [one["run_id"] for one in fresh], "recipe_run_ids": [one["run_id"] for one in recipe],
    }  # fmt: skip
    (study_dir / "searches").mkdir(exist_ok=True)
    (study_dir / "searches" / f"large-{method}-p.json").write_text(json.dumps({**ledger, **changes}))


KD = [[70.0, 74.0], [50.0, 52.0], [40.0, 80.0], [None, 45.0], [66.0, 67.0], [90.0, 90.0]]
LIFT = [[30.0, 32.0], [28.0, 29.0], [27.0, 35.0], [40.0, 41.0], [25.0, 45.0], [31.0, 33.0]]


@pytest.fixture
def tuned_dir(tmp_path: Path) -> Path:
    study_dir = tmp_path / "tuned"
    write_arm(study_dir, "out_kd", KD, confirmed=[58.0, 61.0, 64.0])
    write_arm(study_dir, "lift_place_feat", LIFT, confirmed=[30.0, 31.0, 32.0])
    return study_dir


def arms(study_dir: Path) -> dict[str, Arm]:
    return {arm.method: arm for arm in read_arms(study_dir, read_runs(study_dir))}


def test_the_budget_is_counted_in_the_rows(tuned_dir: Path) -> None:
    for arm in arms(tuned_dir).values():
        assert (len(arm.trials), arm.num_members, arm.search_seeds, arm.steps) == (6, 12, (1000, 1001), (500,))
        assert arm.device_seconds == 6 * (1010.0 + 1011.0)
    assert unequal(list(arms(tuned_dir).values())) == {}
    assert [cell.text for cell in budget_table(list(arms(tuned_dir).values())).rows[0]][2:8] == [
        "6 of 6", "12", "1000, 1001", "500", "0 trials", "12126",
    ]  # fmt: skip


def test_the_winners_curse_is_the_rise_on_fresh_seeds_less_the_recipes(tmp_path: Path) -> None:
    """Trial 0 has the recipe's settings, scores 31 in the search and 61 on fresh seeds: other seeds are 30 worse."""
    write_arm(tmp_path, "out_kd", [[30.0, 32.0], [20.0, 22.0]], confirmed=[50.0, 55.0, 60.0], recipe_lambda=0.1)
    (arm,) = arms(tmp_path).values()
    assert arm.chosen is not None
    assert arm.chosen.number == 1
    assert arm.recipe_shift == pytest.approx(61.0 - 31.0)
    assert arm.winners_curse == pytest.approx(55.0 - 21.0 - 30.0)
    assert arm.gain == pytest.approx(55.0 - 61.0)
    texts = [cell.text for cell in confirm_table([arm]).rows[0]]
    assert texts[2:7] == ["21.00 ± 1.41", "55.00 ± 5.00", "+4.0", "61.00 ± 1.00", "−6.0"]


def test_without_the_recipe_among_the_trials_there_is_no_winners_curse(tuned_dir: Path) -> None:
    arm = arms(tuned_dir)["out_kd"]
    assert np.isnan(arm.winners_curse)
    cell = confirm_table([arm]).rows[0][4]
    assert (cell.text, cell.title) == ("–", "not known: the recipe's settings were no trial of the search")


def test_a_diverged_trial_is_counted_and_never_best(tuned_dir: Path) -> None:
    arm = arms(tuned_dir)["out_kd"]
    assert np.isnan(arm.trials[3].fid[0])
    assert arm.trials[3].score == float("inf")
    kd = [72.0 + np.sqrt(8), 51.0 + np.sqrt(2)]
    assert best_so_far(arm) == pytest.approx([kd[0], *[kd[1]] * 5])


def test_the_pareto_front(tuned_dir: Path) -> None:
    front = [
        (trial.fid.mean(), round(float(trial.fid.std(ddof=1)), 2)) for trial in pareto_front(arms(tuned_dir)["out_kd"])
    ]
    assert front == [(51.0, 1.41), (66.5, 0.71), (90.0, 0.0)]  # fmt: skip


def test_importance_finds_the_setting_that_matters(tuned_dir: Path) -> None:
    found = importance(arms(tuned_dir)["lift_place_feat"])
    assert set(found) == {"lambda_out", "train.lr"}
    assert sum(found.values()) == pytest.approx(1.0)
    table = importance_table(list(arms(tuned_dir).values()))
    assert table.header == ("method", "teacher", "lambda_out", "train.lr")


def test_the_line_to_paste(tuned_dir: Path) -> None:
    assert override_line(arms(tuned_dir)["out_kd"]) == "'methods=[{method:out_kd,lambda_out:1.1}]' train.lr=0.002"
    assert len(override_lines(list(arms(tuned_dir).values()))) == 2


def test_tuned_and_recipe_stand_side_by_side_and_are_compared(tuned_dir: Path) -> None:
    results = compute([tuned_dir], None, 0)
    assert [cell.method for cell, _ in results.entries] == [
        "lift_place_feat", "lift_place_feat (tuned)", "out_kd", "out_kd (tuned)",
    ]  # fmt: skip
    assert results.not_compared == []
    assert results.family is not None
    assert results.family.primary == ("lift_place_feat (tuned)", "out_kd (tuned)")


@pytest.mark.parametrize("lost", ["a row", "a trial", "the ledger"])
def test_unequal_budgets_are_not_compared(tuned_dir: Path, lost: str) -> None:
    path = tuned_dir / "searches" / "large-out_kd-p.json"
    ledger = json.loads(path.read_text())
    if lost == "a row":
        (tuned_dir / "records" / "runs" / f"{ledger['trials'][5]['run_ids'][0]}.parquet").unlink()
    elif lost == "a trial":
        path.write_text(json.dumps({**ledger, "trials": ledger["trials"][:5]}))
    else:
        path.unlink()
    results = compute([tuned_dir], None, 0)
    assert results.tries is not None
    compared = set(results.tries.methods)
    assert "out_kd (tuned)" not in compared
    assert {"out_kd", "lift_place_feat"} <= compared
    assert any("out_kd" in text for text in results.not_compared)
    if lost == "a trial":
        report = write_report([tuned_dir], tuned_dir / "report")
        assert "Not compared: out_kd" in report.index.read_text()


def test_a_seed_that_was_searched_and_confirmed_with_is_refused(tmp_path: Path) -> None:
    write_arm(tmp_path, "out_kd", KD, confirmed=[58.0, 61.0, 64.0])
    path = tmp_path / "searches" / "large-out_kd-p.json"
    ledger = json.loads(path.read_text())
    write_study(tmp_path, [leak := row("out_kd", 0, 50.0, "search", 77.0)], curves=False)
    ledger["trials"][0]["run_ids"][0] = leak["run_id"]
    path.write_text(json.dumps(ledger))
    (reason,) = unequal(list(arms(tmp_path).values())).values()
    assert reason == "out_kd, large: seed 0 was searched and confirmed with"


def test_tuned_settings_of_several_teachers_bear_one_label(tmp_path: Path) -> None:
    rows = [
        make_row("out_kd", teacher, seed, 50.0 + seed, phase="confirm", lambda_out=weight)
        for teacher, weight in (("small", 0.3), ("large", 0.7))
        for seed in (0, 1)
    ]
    write_study(tmp_path, rows, curves=False)
    assert {cell.method for cell, _ in compute([tmp_path], None, 0).entries} == {"out_kd (tuned)"}


def test_the_page_and_the_terminal_show_the_search(tuned_dir: Path) -> None:
    report = write_report([tuned_dir], tuned_dir / "report")
    page = report.index.read_text()
    for text in ("winner&#39;s curse", "best score", "PED-ANOVA", "methods=[{method:out_kd,lambda_out:1.1}]"):
        assert text in page, text
    for name in ("best_so_far.svg", "pareto.svg"):
        assert (tuned_dir / "report" / "figures" / name).exists()
    line = next(line for line in report.text.splitlines() if line.startswith("out_kd, large"))
    assert "6 trials, 12 members" in line
    assert "61.00 ± 3.00 on 3 fresh seeds (recipe 61.00 ± 1.00)" in line


@pytest.mark.parametrize(
    ("confirmed", "expected"),
    [
        (
            [58.0, 61.0, 64.0],
            "decided after 3 seeds, lift_place_feat has the lower mean FID than out_kd, by 30.0 points",
        ),
        ([30.0, 90.0, 31.0], "not decided"),
    ],
)
def test_the_decision_of_the_sequential_rule_is_shown(tmp_path: Path, confirmed: list[float], expected: str) -> None:
    rule = {"compare": ["out_kd", "lift_place_feat"], "first": 3, "alpha": 0.05}
    protocol = {**PROTOCOL, "early_stopping": {"rule": "median"}, "sequential_seeds": rule, "confirm_seeds": [0, 1, 2]}
    write_arm(tmp_path, "out_kd", KD, confirmed=confirmed, protocol=protocol)
    write_arm(tmp_path, "lift_place_feat", LIFT, confirmed=[30.0, 31.0, 32.0], protocol=protocol)
    early, _, decision = notes(list(arms(tmp_path).values()))
    assert "median rule; grid and confirm members never are" in early
    assert expected in decision
    assert "A test with a fixed number of seeds does not apply to this pair." in decision
    results = compute([tmp_path], None, 0)
    assert "sequential rule" in results.findings.headline
    assert results.family is not None
    (primary,) = [one for one in results.family.hypotheses if one.stage == "primary mean"]
    assert np.isnan(primary.p)
    page = write_report([tmp_path], tmp_path / "report").index.read_text()
    assert expected in page
    for text in (*results.findings.supported, *results.findings.undecided):
        assert "Mean, lift_place_feat (tuned) − out_kd (tuned)" not in text
        assert not text.startswith("lift_place_feat (tuned) has a lower mean FID than out_kd (tuned)")
    assert expected != "not decided" or not results.findings.supported


def test_a_damaged_ledger_is_named(tuned_dir: Path) -> None:
    path = tuned_dir / "searches" / "large-out_kd-p.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"large-out_kd-p\.json is no ledger of a search"):
        arms(tuned_dir)


def test_a_search_alone_has_a_report_that_lists_it(tmp_path: Path) -> None:
    write_study(tmp_path, search_rows(12), curves=False)
    report = write_report([tmp_path], tmp_path / "report")
    assert "Only searched members" in report.text
    page = report.index.read_text()
    assert "12 searched members" in page
    assert not (tmp_path / "report" / "stability.csv").exists()


def test_a_grid_without_search_is_as_before(tmp_path: Path) -> None:
    write_study(tmp_path, toy_rows(2), curves=False)
    results = compute([tmp_path], None, 0)
    assert results.arms == []
    assert results.not_compared == []


@pytest.mark.parametrize(("seeds", "said"), [([], "no fresh seeds"), ([0, 1], "not yet")])
def test_what_is_not_confirmed_says_so(tuned_dir: Path, seeds: list[int], said: str) -> None:
    arm, none = arms(tuned_dir)["out_kd"], np.array([])
    fresh: Any = {"confirmed": none, "recipe": none, "confirm_seeds": (), "recipe_seeds": ()}
    alone = replace(arm, protocol={**arm.protocol, "confirm_seeds": seeds}, **fresh)
    cells = confirm_table([alone]).rows[0]
    assert [cells[index].text for index in (3, 4, 5)] == [said, "–", said]
    assert cells[4].title == f"not known: {said}"

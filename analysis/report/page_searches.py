"""The tables of the search for the page: budgets, what the winners were worth, importance, and the lines to paste."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.records.cells import FloatArray
from analysis.report.page_tables import Datum, PageTable
from analysis.results.decisions import decision_text, sequential_decisions
from analysis.results.searches import Arm, importance, override_line
from analysis.results.text import number, signed
from analysis.statistics.summary import mean, std


def budget_table(arms: Sequence[Arm]) -> PageTable:
    """What every method was given, counted in the records."""
    header = ("method", "teacher", "trials", "members", "search seeds", "steps a member", "stopped early",
              "device-seconds", "sampler", "score")  # fmt: skip
    rows = tuple(
        (
            Datum(arm.method),
            Datum(arm.teacher),
            Datum(f"{len(arm.trials)} of {arm.protocol['num_trials']}", sort=len(arm.trials)),
            Datum(f"{arm.num_members}", sort=arm.num_members),
            Datum(", ".join(map(str, arm.search_seeds))),
            Datum(", ".join(map(str, arm.steps))),
            Datum(f"{sum(trial.stopped for trial in arm.trials)} trials"),
            Datum(number(arm.device_seconds, 0), sort=arm.device_seconds),
            Datum(str(arm.protocol["sampler"])),
            Datum(_score_text(arm.protocol)),
        )
        for arm in arms
    )
    return PageTable(header, rows, frozenset({2, 3, 7}))


def confirm_table(arms: Sequence[Arm]) -> PageTable:
    """The chosen settings on fresh seeds, beside what they won with and what the recipe's settings give."""
    header = ("method", "teacher", "search: mean ± std", "confirmed: mean ± std",
              "winner's curse", "recipe: mean ± std", "tuned − recipe", "chosen settings")  # fmt: skip
    rows = []
    for arm in arms:
        if arm.chosen is None:
            continue
        rows.append(
            (
                Datum(arm.method),
                Datum(arm.teacher),
                Datum(_spread_text(arm.chosen.fid), sort=mean(arm.chosen.fid)),
                Datum(_fresh_text(arm, arm.confirmed), sort=mean(arm.confirmed)),
                Datum(_signed(arm.winners_curse), _curse_title(arm), arm.winners_curse),
                Datum(_fresh_text(arm, arm.recipe), sort=mean(arm.recipe)),
                Datum(_signed(arm.gain), "on the seeds that both have", arm.gain),
                Datum(_settings_text(arm.chosen.settings), f"trial {arm.chosen.number + 1} of {len(arm.trials)}"),
            )
        )
    return PageTable(header, tuple(rows), frozenset({2, 3, 4, 5, 6}))


def importance_table(arms: Sequence[Arm]) -> PageTable:
    """PED-ANOVA importance of every setting; only arms with trials enough."""
    found = [(arm, importance(arm)) for arm in arms]
    names = sorted({name for _, values in found for name in values})
    rows = tuple(
        (
            Datum(arm.method),
            Datum(arm.teacher),
            *(Datum(f"{values[name]:.0%}" if name in values else "–", sort=values.get(name, -1.0)) for name in names),
        )
        for arm, values in found
        if values
    )
    return PageTable(("method", "teacher", *names), rows, frozenset(range(2, 2 + len(names))))


def override_lines(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """(arm, the overrides that run it with its chosen settings)."""
    return [(arm.name, override_line(arm)) for arm in arms if arm.chosen is not None]


def notes(arms: Sequence[Arm]) -> list[str]:
    """What must be known to read the tables."""
    found = []
    for rule in {str(arm.protocol["early_stopping"]["rule"]) for arm in arms if arm.protocol["early_stopping"]}:
        found.append(f"Search members were stopped early by the {rule} rule; grid and confirm members never are.")
    if any(arm.chosen is not None for arm in arms):
        found.append(
            "Winner's curse: how much worse the chosen settings are on fresh seeds than on those they won with, less"
            " the same shift of the recipe, which nothing selected. Search and confirmation are evaluated with the same"
            " sampling noise, so luck with that noise is not in it."
        )
    return [*found, *map(decision_text, sequential_decisions(arms))]


def terminal_lines(arms: Sequence[Arm]) -> list[str]:
    """One line an arm: its budget, and what the search promised against what fresh seeds gave."""
    lines = []
    for arm in arms:
        text = (
            f"{arm.name}: {len(arm.trials)} trials, {arm.num_members} members, {arm.device_seconds:.0f} device-seconds"
        )
        if arm.chosen is not None:
            text += f"; best {_settings_text(arm.chosen.settings)}: {_spread_text(arm.chosen.fid)} in the search"
        if len(arm.confirmed):
            text += f", {_spread_text(arm.confirmed)} on {len(arm.confirmed)} fresh seeds"
        if len(arm.recipe):
            text += f" (recipe {_spread_text(arm.recipe)})"
        lines.append(text)
    return lines


def _curse_title(arm: Arm) -> str:
    if not len(arm.confirmed):
        return f"not known: {_fresh_text(arm, arm.confirmed)}"
    if arm.chosen is None or not math.isfinite(arm.recipe_shift):
        return "not known: the recipe's settings were no trial of the search"
    rise = mean(arm.confirmed) - mean(arm.chosen.fid)
    return f"chosen settings {_signed(rise)} on other seeds, recipe {_signed(arm.recipe_shift)}"


def _score_text(protocol: Mapping[str, object]) -> str:
    weight = protocol["std_weight"]
    return {
        "mean": "mean",
        "mean_std": f"mean + {weight:g} std",
        "worst": "worst seed",
        "pareto": f"mean and std; chosen by mean + {weight:g} std",
    }[str(protocol["score"])]


def _settings_text(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                     for key, value in settings.items())  # fmt: skip


def _fresh_text(arm: Arm, fid: FloatArray) -> str:
    """Of seeds that no search saw; in words where there are none."""
    if len(fid):
        return _spread_text(fid)
    return "not yet" if arm.protocol["confirm_seeds"] else "no fresh seeds"


def _spread_text(fid: FloatArray) -> str:
    values = fid[~np.isnan(fid)]
    lost = len(fid) - len(values)
    if not len(values):
        return f"{lost} diverged"
    text = f"{number(mean(values))} ± {number(std(values))}"
    return text + (f" ({lost} diverged)" if lost else "")


def _signed(value: float) -> str:
    return signed(value, 1, plus=True)

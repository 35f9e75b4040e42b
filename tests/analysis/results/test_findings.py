"""What the report says: the same seeds everywhere, no help from divergence, no words about nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_study import TEACHERS, make_row, toy_rows, write_study

from analysis.report.stability_table import table_rows
from analysis.report.write import write_report
from analysis.results.compute import Results, compute
from analysis.results.sentences import points_text, ratio_text
from analysis.results.settings import ReportSettings
from analysis.results.text import percent, signed

THRESHOLD = ReportSettings(collapse_fid=200.0)
NONSENSE = ("1 times as large", "-0.0", "−0.0 ", "-0%", "−0%", " 1 comparisons", "nan", " 1 members", " 1 seeds")


def results_of(tmp_path: Path, rows: Sequence[dict[str, Any]], settings: ReportSettings = THRESHOLD) -> Results:
    write_study(tmp_path / "study", list(rows), curves=False)
    return compute([tmp_path / "study"], None, 0, settings)


def texts_of(results: Results) -> list[str]:
    found = results.findings
    return [found.headline, found.best, *found.supported, *found.undecided, *found.notes, *results.diagnostics]


def two_methods(fids: Sequence[float | None], others: Sequence[float | None], teacher: str = "small") -> list[Any]:
    rows = [make_row("out_kd", teacher, seed, fid) for seed, fid in enumerate(fids)]
    return rows + [make_row("lift_place_feat", teacher, seed, fid) for seed, fid in enumerate(others)]


def test_a_method_that_lacks_its_hard_seed_gains_nothing(tmp_path: Path) -> None:
    """Seed 7 is hard for all; one method does not have it: estimate, interval, star and headline leave it out."""
    hard = [50.0, 51.0, 52.0, 53.0, 54.0, 55.0, 56.0, 120.0]
    easy = [fid + 1 for fid in hard[:7]]
    results = results_of(tmp_path, two_methods(hard, easy))
    assert results.tries is not None
    assert results.tries.seeds == tuple(range(7))
    primary = results.family.hypotheses[0] if results.family else None
    assert primary is not None
    assert primary.estimate == pytest.approx(1.0)
    assert primary.interval[0] <= 1.0 <= primary.interval[1]
    (best,) = [row for row in table_rows(results.entries, results.tries) if row.mean_rank == 1]
    assert (best.method, best.mean) == ("out_kd", "53.00")
    assert any(text.startswith("1 seed that not every compared method has") for text in results.findings.notes)


def test_a_diverged_member_never_helps_its_method(tmp_path: Path) -> None:
    """The mean of the others would be the best of the table."""
    results = results_of(tmp_path, two_methods([50.0, 51.0, 52.0, 90.0, 53.0], [40.0, 41.0, None, 42.0, None]))
    row = next(row for row in table_rows(results.entries, results.tries) if row.method == "lift_place_feat")
    assert row.mean == f"≥ {np.mean([40, 41, 90, 42, 90]):.2f}"
    assert row.mean_rank == 2
    assert results.family is not None
    assert results.family.hypotheses[0].estimate == pytest.approx(60.6 - 59.2)
    assert results.findings.best.startswith(
        "Lowest mean FIDs, not tested as such: out_kd 59.2, lift_place_feat at least"
    )


def test_a_method_that_diverges_is_never_called_stable(tmp_path: Path) -> None:
    """One FID of 412, the worst, and one that diverged: filled in, their std would be 0."""
    results = results_of(tmp_path, two_methods([412.0, None], [50.0, 51.0]))
    rows = {row.method: row for row in table_rows(results.entries, results.tries)}
    assert (rows["out_kd"].std, rows["out_kd"].std_rank) == ("–", 0)


@pytest.mark.parametrize("fid", [0.0, 50.0, 1e-6])
def test_fids_that_tell_nothing_apart_name_no_winner(fid: float, tmp_path: Path) -> None:
    results = results_of(tmp_path, two_methods([fid] * 5, [fid] * 5))
    assert results.family is None
    assert "The FIDs tell no method apart" in results.findings.headline
    assert results.findings.best == ""
    assert {row.mean_rank for row in table_rows(results.entries, results.tries)} == {0}
    assert write_report([tmp_path / "study"], tmp_path / "report").index.exists()


def test_infinite_fids_make_a_page(tmp_path: Path) -> None:
    rows = two_methods([float("inf")] * 3, [float("inf")] * 3)
    assert "all diverged" in results_of(tmp_path, rows).findings.headline
    assert write_report([tmp_path / "study"], tmp_path / "report").index.exists()


def test_one_event_is_not_many_collapses(tmp_path: Path) -> None:
    rows = [make_row(method, teacher, seed, 300.0 if seed == 4 else 50.0 + seed + len(teacher))
            for method in ("out_kd", "lift_place_feat") for teacher in TEACHERS for seed in range(5)]  # fmt: skip
    assert "All 6 collapses are seed 4: they are one event, not 6." in results_of(tmp_path, rows).diagnostics


def test_a_method_without_a_teacher_counts_once(tmp_path: Path) -> None:
    rows = [make_row("out_kd", teacher, seed, 300.0 if seed == 4 else 50.0 + seed)
            for teacher in TEACHERS for seed in range(5)]  # fmt: skip
    rows += [make_row("diffusion_only", None, seed, 300.0 if seed == 4 else 60.0 + seed) for seed in range(5)]
    text = " ".join(results_of(tmp_path, rows).diagnostics)
    assert "All 4 collapses are seed 4" in text
    assert f"Of {len(rows)} tries" in text


def test_methods_that_are_the_same_here_are_named(tmp_path: Path) -> None:
    fids = [50.0, 53.0, 51.0, 58.0]
    rows = two_methods([60.0, 64.0, 61.0, 65.0], fids)
    rows += [make_row("lift_place", "small", seed, fid) for seed, fid in enumerate(fids)]
    (text,) = [text for text in results_of(tmp_path, rows).diagnostics if "are the same here" in text]
    assert text.startswith("lift_place and lift_place_feat are the same here")


def test_teachers_worse_than_their_students_are_named(tmp_path: Path) -> None:
    rows = two_methods([60.0, 64.0, 61.0], [50.0, 53.0, 51.0])
    rows = [{**row, "teacher_fid": 90.0} for row in rows]
    (text,) = [text for text in results_of(tmp_path, rows).diagnostics if "worse than its students" in text]
    assert "The teacher small (FID 90.0) is worse than its students: lift_place_feat 51.3 and out_kd 61.7" in text


@pytest.mark.parametrize("settings", [ReportSettings(), THRESHOLD])
def test_without_a_threshold_no_word_says_that_none_collapsed(settings: ReportSettings, tmp_path: Path) -> None:
    """Tries that the paper calls collapsed were said not to be marked as collapsed."""
    results = results_of(tmp_path, two_methods([50.0, 51.0, 52.0], [40.0, 41.0, 42.0]), settings)
    said = any("without a collapse" in text for text in texts_of(results))
    assert said == (settings.collapse_fid is not None)
    assert any("No threshold of collapse was applied" in text for text in results.diagnostics) != said


def test_the_number_of_collapses_is_said_for_several_thresholds(tmp_path: Path) -> None:
    results = results_of(tmp_path, two_methods([120.0, 160.0, 250.0, 350.0, 50.0], [40.0, 41.0, None, 42.0, 43.0]))
    (text,) = [text for text in results.diagnostics if text.startswith("Collapse means")]
    assert "Of 10 tries, counting 1 that diverged: 5 above 100, 4 above 150, 3 above 200, 2 above 300." in text


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 11])
def test_no_sentence_speaks_of_nothing(count: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(count)
    rows = [
        make_row(method, teacher, seed, float(50 + generator.normal(0, 0.02)))
        for method in ("out_kd", "lift", "lift_place_feat") for teacher in TEACHERS for seed in range(count)
    ]  # fmt: skip
    results = results_of(tmp_path, rows)
    page = write_report([tmp_path / "study"], tmp_path / "report", settings=THRESHOLD).index.read_text()
    visible = re.sub(r"<(svg|style|script).*?</\1>", "", page, flags=re.S)
    visible = re.sub(r'data-sort="[^"]*"', "", visible)
    for nonsense in NONSENSE:
        assert nonsense not in visible, nonsense
        assert all(nonsense not in text for text in texts_of(results))


def test_the_headline_has_two_sentences_at_most_and_ten_questions_are_shown(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = [make_row(f"m{place:02d}", teacher, seed, float(50 + generator.normal(0, 3)))
            for place in range(9) for teacher in TEACHERS for seed in range(6)]  # fmt: skip
    results = results_of(tmp_path, rows, ReportSettings(baseline="m00", primary=["m03", "m00"]))
    assert len(re.findall(r"\.(?: |$)", results.findings.headline)) <= 2
    assert "m03 − m00" in results.findings.undecided[0] or "m03" in "".join(results.findings.supported)
    page = write_report(
        [tmp_path / "study"], tmp_path / "report", settings=ReportSettings(baseline="m00", primary=["m03", "m00"])
    ).index.read_text()
    section = page[page.index("<h3>Undecided</h3>") : page.index("<h3>Mind</h3>")]
    assert section[: section.index("<details>")].count("<li>") == 10


def test_what_the_declared_sequence_did_not_reach_is_not_supported(tmp_path: Path) -> None:
    """A clear difference of another method does not count when the primary comparison is not shown."""
    rows = two_methods([50.0, 60.0, 40.0, 55.0, 45.0, 52.0, 49.0], [51.0, 59.0, 42.0, 54.0, 46.0, 50.0, 50.0])
    rows += [make_row("lift", "small", seed, 10.0 + seed / 10) for seed in range(7)]
    results = results_of(tmp_path, rows)
    assert results.findings.supported == () or all("lift has" not in text for text in results.findings.supported)
    assert any("The sequence of declared comparisons stops" in text for text in results.findings.notes)


@pytest.mark.parametrize("num_seeds", [5, 6, 8, 11])
def test_eight_methods_far_apart_are_told_apart_at_any_number_of_seeds(num_seeds: int, tmp_path: Path) -> None:
    """Means 1000 apart: 28 of 28 supported at n = 5, none at 6 to 10, 28 at 11 was an artefact of the correction."""
    generator = np.random.default_rng(1)
    rows = [make_row(name, "small", seed, float(1000 * place + generator.normal(0, 2)))
            for place, name in enumerate(("lift_place_feat", "a", "b", "c", "d", "e", "f", "out_kd"), start=1)
            for seed in range(num_seeds)]  # fmt: skip
    found = results_of(tmp_path, rows, ReportSettings()).findings
    assert any(text.startswith("lift_place_feat has a lower mean FID than out_kd") for text in found.supported)


def test_equivalence_is_said_within_the_declared_margin(tmp_path: Path) -> None:
    fids = [50.0, 60.0, 40.0, 55.0, 45.0, 52.0, 49.0]
    rows = two_methods(
        fids, [fid + delta for fid, delta in zip(fids, (0.1, -0.1, 0.2, -0.2, 0.1, -0.1, 0.05), strict=True)]
    )
    results = results_of(tmp_path, rows, ReportSettings(margin=5.0))
    assert any("are equivalent: their mean FIDs differ by less than the declared 5 points" in text
               for text in results.findings.supported)  # fmt: skip


def test_table_6_says_what_five_unpaired_tries_support_and_that_the_trend_rests_on_one_teacher() -> None:
    results = compute([], "table6", 0)
    found = results.findings
    (text,) = [text for text in found.supported if "celeba_78.7m" in text]
    assert text.startswith("lift_place_feat has a lower mean FID than out_kd at celeba_78.7m, by 79.6 points")
    assert text.endswith("p = 0.0079).")
    assert any("compared as independent groups" in note for note in found.notes)
    (trend,) = [note for note in found.notes if "rests on one teacher is no trend" in note]
    assert (
        "out_feat_kd +54.2 FID points with every doubling, without celeba_78.7m +1.3 (lack of fit p = 0.0047)" in trend
    )
    assert not any("without a collapse" in text for text in texts_of(results))


def test_the_print_order_of_unpaired_tries_changes_nothing() -> None:
    from analysis.records.cells import group_cells
    from analysis.records.published import published_runs
    from analysis.statistics.common_seeds import common_tries
    from analysis.statistics.superiority import probability_better

    cells = group_cells(published_runs("table6"))
    tries = common_tries(cells, reference=["out_kd", "lift_place_feat"], paired=False)
    assert tries is not None
    a, b = (tries.fid[tries.methods.index(name)] for name in ("out_feat_kd", "out_kd"))
    assert probability_better(a, b, paired=False) == probability_better(a[:, ::-1], b, paired=False)


def test_declared_names_are_checked() -> None:
    for settings, message in (
        (
            ReportSettings(baseline="x"),
            "report.baseline must be among lift_place_feat, out_feat_kd, out_kd but got 'x'",
        ),
        (ReportSettings(primary=["out_kd", "y"]), "report.primary must be among"),
    ):
        with pytest.raises(ValueError, match=message):
            compute([], "table6", 0, settings)
    for bad in ({"primary": ["a"]}, {"primary": "ab"}, {"margin": -1}, {"all_pairs": 1}, {"collapse_fid": "x"}):
        with pytest.raises(ValueError, match=rf"report\.{next(iter(bad))} must be"):
            ReportSettings(**bad)


def test_numbers_in_words() -> None:
    assert signed(-0.04) == "0.0"
    assert signed(-1.26) == "−1.3"
    assert percent(-0.001) == "0%"
    assert [ratio_text(value) for value in (1.0, 1.02, 0.96, 1.3, 3.84, 15.2)] == [
        "1.00",
        "1.02",
        "0.96",
        "1.3",
        "3.8",
        "15",
    ]
    assert points_text(0.004) == "0.00 points"
    assert points_text(-32.46) == "32.5 points"


def test_toy_rows_have_a_whole_report(tmp_path: Path) -> None:
    results = results_of(tmp_path, toy_rows())
    assert results.family is not None
    assert results.family.primary == ("lift_place_feat", "out_kd")
    assert any("Collapsed or diverged: out_kd with large 2 of 5" in text for text in results.findings.notes)


def test_the_features_of_a_network_of_the_studys_own_are_said_to_be_that(tmp_path: Path) -> None:
    fids = [50.0, 51.0, 52.0]
    own = [make_row("out_kd", "small", seed, fid, feature_extractor="own-v1") for seed, fid in enumerate(fids)]
    (text,) = (text for text in results_of(tmp_path / "own", own).diagnostics if "own-v1" in text)
    assert "they compare within one study alone" in text
    shipped = [make_row("out_kd", "small", seed, fid) for seed, fid in enumerate(fids)]
    assert not any("within one study" in text for text in results_of(tmp_path / "shipped", shipped).diagnostics)

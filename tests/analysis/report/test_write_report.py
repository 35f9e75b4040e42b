"""The report as a whole: its files, its refusals, and that it is the same every time."""

from __future__ import annotations

import csv
import html
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave
from synthetic_study import make_row, search_rows, toy_rows, variant_rows, write_evaluation_files, write_study

from analysis.figures.errors import read_error_maps
from analysis.report.write import Report, write_report
from analysis.results.compute import compute
from analysis.results.settings import ReportSettings
from storage import sealed

COLUMNS = ["teacher", "teacher_params", "capacity_gap", "method", "n", "fid_mean", "fid_std"]


@pytest.fixture(scope="module")
def full_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grid and search rows, a method in variants, curves, sample grids and error maps."""
    study_dir = tmp_path_factory.mktemp("studies") / "digits"
    rows = toy_rows()
    write_study(study_dir, rows + search_rows() + variant_rows())
    write_evaluation_files(study_dir, rows)
    return study_dir


@pytest.fixture(scope="module")
def report(full_study: Path) -> Report:
    return write(full_study, full_study / "report")


def write(study_dir: Path, report_dir: Path) -> Report:
    return write_report(
        [study_dir], report_dir, settings=ReportSettings(collapse_fid=200.0),
        command="python -m study.report study_dir=digits", sweep="python -m study.sweep train.lr=0.01 seeds=[0,1]",
    )  # fmt: skip


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_csv_begins_with_the_agreed_columns_and_counts_what_collapsed(report: Report) -> None:
    lines = read_csv(report.index.parent / "stability.csv")
    assert list(lines[0])[: len(COLUMNS)] == COLUMNS
    assert len(lines) == 13
    broken = next(line for line in lines if (line["method"], line["teacher"]) == ("out_kd", "large"))
    assert (broken["n"], broken["num_fid"], broken["num_collapsed"], broken["num_diverged"]) == ("5", "4", "1", "1")
    assert float(broken["collapse_rate"]) == 0.4
    assert float(broken["fid_mean"]) > float(broken["fid_mean_ok"])
    assert "out_kd" in report.text
    assert "diverged" in report.text


def test_every_section_with_data_is_on_the_page(report: Report) -> None:
    page = report.index.read_text()
    for heading in ("Every try", "Undecided", "Method against method", "Stability without a threshold", "Samples",
                    "As the teacher grows", "Inside the training", "Search", "How to reproduce"):  # fmt: skip
        assert heading in page, heading
    assert page.count('<img src="data:image/png;base64') == 10
    assert "python -m study.report study_dir=digits" in page
    assert "12 searched members" in page
    figures = {path.stem for path in (report.index.parent / "figures").glob("*.svg")}
    assert figures == {
        *("stability", "trends", "cost", "curves", "errors", "search", "group_size"),
        *("exceedance", "forest_mean", "forest_spread"),
    }
    for name in figures:
        assert f'href="figures/{name}.svg" download' in page
    targets = set(re.findall(r'href="#([a-z]+)"', page))
    assert targets
    assert all(f'id="{name}"' in page for name in targets)
    assert figures == {path.stem for path in (report.index.parent / "figures").glob("*.png")}


def test_the_page_is_self_contained_and_small(report: Report) -> None:
    page = report.index.read_text()
    assert len(page) < 5_000_000
    for loading in ('src="http', 'href="http', "url(http", "@import", '<link rel="stylesheet"'):
        assert loading not in page


def test_json_has_every_number_and_no_nan(report: Report) -> None:
    content = json.loads((report.index.parent / "report.json").read_text())
    assert len(content["cells"]) == 13
    cell = next(cell for cell in content["cells"] if (cell["method"], cell["teacher"]) == ("out_kd", "large"))
    assert cell["tries"]["fid"][1] is None
    assert cell["tries"]["diverged"] == [False, True, False, False, False]
    assert {"family", "trends", "components", "calibration", "findings", "settings"} <= set(content)
    assert content["reproduce"]["phases"] == {"grid": 56, "search": 12}


def test_same_records_and_seed_give_the_same_bytes(full_study: Path, report: Report, tmp_path: Path) -> None:
    copied = tmp_path / "digits"
    shutil.copytree(full_study, copied, ignore=shutil.ignore_patterns("report"))
    again = write(copied, tmp_path / "again")
    first, second = report.index.parent, again.index.parent
    names = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    assert len(names) == 5 + 20
    for name in names:
        if name.name in ("index.html", "report.json"):  # they name the study's directory in the line for more seeds
            text = (second / name).read_text().replace(str(copied), str(full_study))
            assert (first / name).read_text() == text
            continue
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_mixed_evaluation_protocols_are_refused_by_name(tmp_path: Path) -> None:
    rows = [make_row("out_kd", "small", seed, 50.0, num_images=256 * (1 + seed)) for seed in (0, 1)]
    write_study(tmp_path / "study", rows)
    with pytest.raises(ValueError, match="num_images is 256 and 512"):
        write_report([tmp_path / "study"], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_an_empty_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="study_dir must hold finished members"):
        compute([tmp_path], None, 0)


def test_two_studies_stand_side_by_side(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_study(tmp_path / name, toy_rows(num_seeds=2), curves=False)
    results = compute([tmp_path / "first", tmp_path / "second"], None, 0)
    assert {"first: out_kd", "second: out_kd"} <= set(results.methods)
    assert len(results.methods) == 8
    assert results.family is not None
    assert results.family.baseline == "first: out_kd"
    assert ("second: out_kd", "first: out_kd") in {(one.a, one.b) for one in results.family.hypotheses}


def test_a_method_named_like_a_tag_is_shown_as_text(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    write_study(tmp_path / "study", [make_row(name, "small", seed, 50.0 + seed) for seed in range(3)])
    page = write_report([tmp_path / "study"], tmp_path / "report").index.read_text()
    assert name not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_one_try_a_cell_has_a_mean_and_no_spread(tmp_path: Path) -> None:
    write_study(tmp_path / "study", [make_row("out_kd", "small", 0, 50.0), make_row("lift", "small", 0, 40.0)])
    text = write_report([tmp_path / "study"], tmp_path / "report").text
    assert "no difference between the mean FIDs of lift and out_kd is shown: 1 try allows no test" in text
    assert "Lowest mean FIDs, not tested as such: lift 40.0, out_kd 50.0." in text
    assert "nan" not in text


@pytest.mark.parametrize("rows", [
    [make_row("out_kd", "small", 0, 50.0)],
    [make_row("diffusion_only", None, seed, 50.0 + seed) for seed in range(3)],
    [make_row("out_kd", "small", seed, None) for seed in range(3)],
], ids=["one member", "no teacher", "all diverged"])  # fmt: skip
def test_small_studies_are_reported_too(rows: list[dict[str, object]], tmp_path: Path) -> None:
    write_study(tmp_path / "study", rows)
    assert write_report([tmp_path / "study"], tmp_path / "report").index.stat().st_size > 1000


def test_error_maps_that_are_not_are_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", timesteps=np.arange(3), squared_error=np.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match="squared_error must be"):
        read_error_maps(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", timesteps=np.arange(3))
    with pytest.raises(ValueError, match=r"y\.npz"):
        read_error_maps(tmp_path / "y.npz")


def test_single_tries_show_their_seed_and_fid_under_the_pointer(report: Report) -> None:
    for text in (report.index.read_text(), (report.index.parent / "figures" / "stability.svg").read_text()):
        assert "<title>out_kd, large, seed 0: FID 412.00, collapsed</title>" in text
    assert "currentColor" in report.index.read_text()


def test_more_seeds_are_a_command_that_runs_as_it_is(report: Report) -> None:
    suggested = json.loads((report.index.parent / "report.json").read_text())["findings"]["suggested_seeds"]
    assert suggested[:5] == [0, 1, 2, 3, 4]
    assert len(suggested) > 5
    command = json.loads((report.index.parent / "report.json").read_text())["reproduce"]["more_seeds"]
    seeds = f"seeds=[{','.join(map(str, suggested))}]"
    words = ["python", "-m", "study.sweep", "train.lr=0.01", f"study_dir={report.index.parents[1]}", seeds]
    assert shlex.split(command) == words
    assert command in html.unescape(report.index.read_text())


def write_real_images(study_dir: Path, **evaluation: object) -> None:
    """reference/r.json and .png and a teacher's grid, as the evaluation writes them."""
    for name in ("reference/r.png", "teachers/id-small/samples.png"):
        (study_dir / name).parent.mkdir(parents=True, exist_ok=True)
        imsave(study_dir / name, np.zeros((8, 8)), cmap="gray")
    key = {"data": "digits", "evaluation": {"feature_extractor": "digits_cnn_v1", "image_size": None} | evaluation}
    facts = {**key, "images_of_a_half": 898, "half_against_half_fid": 4.512}
    (study_dir / "reference" / "r.json").write_bytes(sealed("r.json", facts))


def captions(page: str) -> list[str]:
    return [text.replace("<br>", ", ") for text in re.findall(r"<img[^>]*><figcaption>(.*?)</figcaption>", page)]


def test_real_images_and_teachers_are_beside_the_students_with_their_fids(tmp_path: Path) -> None:
    rows = [make_row(method, "small", 0, fid) for method, fid in (("out_kd", 60.0), ("lift", 50.0))]
    study_dir = write_study(tmp_path / "study", rows)
    write_evaluation_files(study_dir, rows)
    students = ["lift, small, seed 0, FID 50.0", "out_kd, small, seed 0, FID 60.0"]
    page = write(study_dir, tmp_path / "report").index.read_text()
    assert captions(page) == students
    assert "one half against the other" not in page

    write_real_images(study_dir)
    report = write(study_dir, tmp_path / "report")
    page = report.index.read_text()
    real = "real images, one half against the other, FID 4.5"
    assert captions(page) == [real, "teacher, small, FID 4.0", *students]
    assert page.count('data-label="teacher FID" data-sort="4.0"') == 4  # both cells, in both tables
    assert page.count('data-label="gap" data-sort="9.0"') == 4
    assert "Real images, one half against the other (898 each): FID 4.51." in page
    found = json.loads((report.index.parent / "report.json").read_text())["real_images"]
    assert found == {"study": {"half_against_half_fid": 4.512, "images_of_a_half": 898}}


def test_real_images_of_another_evaluation_are_not_shown(tmp_path: Path) -> None:
    study_dir = write_study(tmp_path / "study", [make_row("out_kd", "small", 0, 60.0)])
    write_real_images(study_dir, feature_extractor="inception")
    page = write(study_dir, tmp_path / "report").index.read_text()
    assert captions(page) == ["teacher, small, FID 4.0"]
    assert "half against" not in page


def test_real_images_that_are_damaged_are_refused_by_name(tmp_path: Path) -> None:
    study_dir = write_study(tmp_path / "study", [make_row("out_kd", "small", 0, 60.0)])
    write_real_images(study_dir)
    path = study_dir / "reference" / "r.json"
    path.write_text(path.read_text().replace("4.512", "0.512"))
    with pytest.raises(ValueError, match=r"reference/r\.json is damaged"):
        write(study_dir, tmp_path / "report")

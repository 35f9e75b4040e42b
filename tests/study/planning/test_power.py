"""What the dry run says of the power of the primary comparison."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_record import make_record
from trained_study import TRAINED

from analysis.records.rows import write_run
from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.planning.members import plan_members
from study.planning.power import describe_power


def config_of(*overrides: str) -> StudyConfig:
    return study_config(compose("config", ["dry_run=true", *TRAINED, *overrides]))


def described(*overrides: str) -> str:
    config = config_of(*overrides)
    return describe_power(config, plan_members(config) if config.tuning is None else [])


def test_the_line_names_the_pair_of_the_report_and_what_its_seeds_can_show() -> None:
    few, more = described(), described("seeds=[0,1,2,3,4,5,6,7,8,9]")
    start = "primary comparison, lift_place_feat against out_kd:"
    assert few.startswith(f"{start} 5 seeds at 3 teachers, from the shipped seed effects of digits_reference\n")
    assert more.startswith(f"{start} 10 seeds at 3 teachers, from")
    sizes = [
        re.search(r"a difference of the means of ([\d.]+) typical deviations of a seed, ", said) for said in (few, more)
    ]
    of_few, of_more = (float(size[1]) for size in sizes if size)
    assert 0.5 <= of_more < of_few < 4
    assert "FID points" not in more  # of another study, they say nothing here


def test_the_declared_pair_wins_and_labels_are_those_of_the_report() -> None:
    text = described("report.primary=[lift,out_kd]", "seeds=[0,1,2]")
    assert text.startswith("primary comparison, lift against out_kd: 3 seeds at 3 teachers")
    variants = "methods=[out_kd,{method:lift_place,group_size:4},{method:lift_place,group_size:16}]"
    assert "lift_place K=16 against out_kd" in described(variants)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["seeds=[0,1]"], "lift_place_feat against out_kd: nothing, with 2 of the 3 seeds that it takes at least"),
        (["methods=[out_kd]"], "none, for there is one method (out_kd)"),
        (["protocol=tuned"], "not computed where settings are searched (tuned)"),
        (["report.primary=[lift,other]"], "not computed, for report.primary must be among"),
    ],
)
def test_why_no_power_is_said(overrides: list[str], text: str) -> None:
    line = described(*overrides)
    assert text in line
    assert "found in" not in line
    assert "\n" not in line


def test_a_method_without_a_teacher_is_compared_at_every_teacher() -> None:
    text = described("methods=[diffusion_only,lift]", "teachers=[unet_16,unet_32]", "seeds=[0,1,2]")
    assert "lift against diffusion_only: 3 seeds at 2 teachers" in text


def write_rows(config: StudyConfig, num_seeds: int) -> None:
    """Rows of both methods for the first seeds: FIDs spread by about 10, the same seed shift for both."""
    generator = np.random.default_rng(0)
    shift = dict(zip(config.seeds, generator.normal(0, 10, len(config.seeds)), strict=True))
    for member in plan_members(config):
        if member.seed < num_seeds:
            fid = 50 + shift[member.seed] + float(generator.normal(0, 1))
            write_run(config.study_dir, make_record(member.run_id) | {"seed": member.seed, "fid": fid}, ())


def test_power_comes_from_the_rows_of_the_study_where_there_are_enough(tmp_path: Path) -> None:
    overrides = [
        f"study_dir={tmp_path}",
        "methods=[out_kd,lift]",
        "teachers=[unet_16]",
        "seeds=[0,1,2,3,4,5,6,7,8,9,10,11]",
    ]
    write_rows(config_of(*overrides), num_seeds=9)
    assert "from the shipped seed effects" in described(*overrides)
    write_rows(config_of(*overrides), num_seeds=11)
    text = described(*overrides)
    assert "lift against out_kd: 12 seeds at 1 teacher, from the study's own rows\n" in text
    points = re.search(r"of the means of ([\d.]+) typical deviations of a seed \(here ([\d.]+) FID points\)", text)
    assert points
    assert 5 < float(points[2]) / float(points[1]) < 20  # one typical deviation, of seeds drawn with a std of 10
    assert float(points[1]) < 0.6  # both methods share their seeds' shifts, so a pair differs by about 1.4 points


def test_it_takes_less_than_two_seconds() -> None:
    config = config_of("seeds=[" + ",".join(map(str, range(40))) + "]")
    planned = plan_members(config)
    start = time.process_time()
    describe_power(config, planned)
    assert time.process_time() - start < 2

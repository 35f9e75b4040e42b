"""The cost model: hand calculations, what rows measure, and which throughput it says it takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from study.config.command_line import compose
from study.config.parse import study_config
from study.costs import model
from study.costs.model import find_costs
from study.costs.throughput import Work, assumed, measured
from study.planning.members import plan_members, plan_packs, plan_teachers
from trainables.models import Size
from trainables.models.saved import PackSpeed

TABLE6 = ("+experiment=celeba_table6", "data=generated", "data.num_images=4", "data.size=64", "dry_run=true")


def test_table_6_takes_what_a_hand_calculation_gives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a student of 0.4G MACs: its true size is the pruning's to say."""
    student = 0.4e9
    monkeypatch.setattr(model, "student_size", lambda *_: Size(1_240_000, int(student)))
    config = study_config(compose("config", [*TABLE6, f"study_dir={tmp_path}", "cluster.gpus_per_worker=1"]))
    teachers = 24.05e9 + 6.06e9 + 4.98e9 + 2.89e9
    images, sampled = 500_000 * 96, 50_000 * 100
    training = 5 * images * (teachers + 4 * 3 * 3 * student)  # seeds x (a pass of each teacher, 3 methods on 4 of them)
    made = 3 * images * teachers + sampled * teachers
    hours = (training + made + 60 * sampled * student) / 5e12 / 3600  # 1,019
    costs = find_costs(config)
    found = costs.device_seconds(plan_packs(plan_members(config), None), plan_teachers(config)) / 3600
    assert found == pytest.approx(hours, rel=0.25)


def test_ranks_make_a_teacher_in_their_part_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The evaluation is one rank's, while the others are held."""
    monkeypatch.setattr(model, "student_size", lambda *_: Size(1_240_000, 4 * 10**8))
    config = study_config(compose("config", [*TABLE6, f"study_dir={tmp_path}", "teachers=[celeba_79m]"]))
    one = find_costs(config)
    four = replace(one, config=replace(config, cluster=replace(config.cluster, teacher_num_workers=4)))
    spec = plan_teachers(one.config)[0]
    sampling = one.throughput.seconds(one._sampling(one.counts.teachers[spec.teacher_id].macs))
    training = one.teacher_seconds(spec) - sampling
    assert four.teacher_seconds(spec) == pytest.approx(training / 4 + sampling, rel=0.01)
    assert four.device_seconds((), [spec]) == pytest.approx(4 * four.teacher_seconds(spec))
    assert one.device_seconds((), [spec]) == pytest.approx(one.teacher_seconds(spec))


def test_the_default_study_takes_about_what_it_took(tmp_path: Path) -> None:
    """110 members on two cores took 225 s."""
    config = study_config(compose("config", [f"study_dir={tmp_path}"]))
    packs = plan_packs(plan_members(config), None)
    assert 225 / 1.5 < find_costs(config).total_seconds(packs, plan_teachers(config), 2) < 225 * 1.5


def test_rows_of_a_machine_half_as_quick_double_the_seconds(tmp_path: Path) -> None:
    cluster = study_config(compose("config", [f"study_dir={tmp_path}"])).cluster
    start, work = assumed(cluster), Work(6e9, 300)  # 100 steps of a member
    seconds = 2 * start.seconds(work)
    row = {"steps": 100, "train_seconds": seconds, "macs_per_second": work.macs / seconds, "device": "cpu"}
    found = measured([row, row], cluster)
    assert found is not None
    assert found.seconds(Work(1e12, 7)) == pytest.approx(2 * start.seconds(Work(1e12, 7)))
    assert found.source == "measured on 2 members (cpu)"
    assert start.source == "assumed of a CPU thread"
    assert measured([row | {"device": "a GPU"}, row | {"macs_per_second": None}], cluster) is None


def test_a_pack_is_a_teacher_pass_and_three_of_every_member() -> None:
    assert PackSpeed(32, 64, 2.0).macs_per_second(10, 1000) == (32 * 1000 + 3 * 64 * 10) / 2

"""What teachers and pruned students took is in their files, and counts against the budget."""

import json
from pathlib import Path

from tiny_record import make_record

from analysis.records.rows import write_run
from storage import sealed
from study.costs.spent import model_device_seconds
from study.execution.run_packs import device_hours
from study.watching.study_count import StudyCount


def put(folder: Path, name: str, facts: dict[str, object]) -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_bytes(sealed(folder.name, facts))
    return folder / name


def test_teachers_and_pruned_students_are_summed_up_and_damaged_ones_left_out(tmp_path: Path) -> None:
    assert model_device_seconds(tmp_path) == 0.0
    put(tmp_path / "teachers" / ("1" * 16), "teacher.json", {"device_seconds": 1000.0})
    put(tmp_path / "teachers" / ("2" * 16), "teacher.json", {"params": 3})  # of an earlier version
    put(tmp_path / "initial" / ("3" * 16), "student.json", {"device_seconds": 200.0})
    broken = put(tmp_path / "teachers" / ("4" * 16), "teacher.json", {"device_seconds": 5.0})
    broken.write_text(json.dumps({"device_seconds": 5e9}))
    assert model_device_seconds(tmp_path) == 1200.0


def test_the_budget_counts_members_and_models(tmp_path: Path) -> None:
    write_run(tmp_path, make_record() | {"device_seconds": 1800.0}, [])
    put(tmp_path / "teachers" / ("1" * 16), "teacher.json", {"device_seconds": 7200.0})
    assert device_hours(StudyCount(tmp_path)) == 0.5 + 2.0

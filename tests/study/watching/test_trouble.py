"""What goes wrong is said while the sweep runs, once, with its cause, and when work is taken up again."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from study.watching.events import log_dir
from study.watching.progress_bar import bar
from study.watching.study_count import StudyCount
from study.watching.trouble import Trouble

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
PACK = {"pack_id": "c" * 16, "run_ids": [], "seeds": [], "steps": 100}


def write(study_dir: Path, event: str, *, seconds: float = 1.0, name: str = "a", **facts: Any) -> None:
    log_dir(study_dir).mkdir(exist_ok=True)
    line = {"time": (NOW + timedelta(seconds=seconds)).isoformat(), "event": event, **facts}
    with (log_dir(study_dir) / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def test_losses_are_said_once_with_their_cause_and_where_work_is_taken_up(tmp_path: Path) -> None:
    trouble = Trouble(tmp_path, NOW)
    assert trouble() == []
    write(tmp_path, "worker_lost", seconds=-1.0, cause="of an earlier sweep", without_progress=1)
    write(tmp_path, "pack_started", **PACK, saved_steps=0)
    write(tmp_path, "worker_lost", seconds=2, name="b", cause="its node is gone", without_progress=1)
    assert trouble() == ["12:00:02 a worker was lost, its work goes on: its node is gone"]
    assert trouble() == []
    write(tmp_path, "pack_started", seconds=3, **PACK, saved_steps=50)
    write(tmp_path, "worker_lost", seconds=4, name="b", cause="killed\x1b[2J", without_progress=2)
    assert trouble() == [
        f"12:00:03 pack {'c' * 16} is taken up again, from step 50",
        "12:00:04 a worker was lost again without progress, 2 in a row: killed\\x1b[2J",
    ]


def test_a_teacher_and_a_failed_member_are_named(tmp_path: Path) -> None:
    write(tmp_path, "teacher_lost", teacher="unet_64", cause="killed", without_progress=1)
    write(tmp_path, "member_failed", seconds=2, run_id="a" * 16, final=False, error="Traceback\nKeyError: 'x'")
    write(tmp_path, "controller_lost", seconds=3, error="The actor died. It was killed.")  # without a cause
    assert Trouble(tmp_path, NOW)() == [
        "12:00:01 the process of a teacher (unet_64) was lost, its work goes on: killed",
        "12:00:02 failed and is tried again: KeyError: 'x'",
        "12:00:03 a controller was lost, its work goes on: The actor died",
    ]


def test_looks_at_the_cluster_that_fail_are_said_after_three_in_a_row(tmp_path: Path) -> None:
    for number in (1, 2, 3, 4):
        write(tmp_path, "placement_groups_unknown", seconds=number, in_a_row=number, error="no answer")
    (said,) = Trouble(tmp_path, NOW)()
    assert said.startswith("12:00:03 the cluster does not say who holds its places")
    assert said.endswith(": no answer")


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_the_terminal_says_it_above_the_bar(
    error: BaseException | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = StudyCount(tmp_path, since=NOW)
    with suppress(KeyboardInterrupt), bar(count, lambda _: (0, ""), total=1):
        write(tmp_path, "worker_lost", cause="its node is gone", without_progress=1)
        if error is not None:
            raise error
    assert "12:00:01 a worker was lost, its work goes on: its node is gone\n" in capsys.readouterr().err

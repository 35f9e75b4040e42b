"""Looks for places to free that fail are logged, each, and do not end the looks; above 10,000 actors they succeed."""

import time
from pathlib import Path

import pytest

from study.execution import placement_groups, ray_internals
from study.execution.ray_internals import Group
from study.watching.events import read_events

OURS, THEIRS = "01000000", "02000000"


def test_failed_looks_are_logged_with_how_many_there_were_in_a_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers: list[set[str] | Exception] = [OSError("away"), OSError("away"), set(), OSError("away again")]

    def look(_jobs: set[str]) -> set[str]:
        answer = answers.pop(0) if answers else set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(placement_groups, "known_jobs", lambda _study_dir: {OURS})
    monkeypatch.setattr(placement_groups, "empty_groups", look)
    monkeypatch.setattr(placement_groups, "_SECONDS_BETWEEN", 0.01)
    with placement_groups.freed_placement_groups(tmp_path):
        deadline = time.monotonic() + 30
        while answers and time.monotonic() < deadline:
            time.sleep(0.01)
    found = [(event["in_a_row"], event["error"]) for event in read_events(tmp_path)]
    assert found == [(1, "away"), (2, "away"), (1, "away again")]


def test_only_groups_of_our_jobs_for_workers_and_without_an_actor_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def group(
        name: str, job_id: str = OURS, *, created: bool = True, detached: bool = False, kind: str = "CPU"
    ) -> Group:
        return Group(name, job_id, created, detached, frozenset({kind}))

    there = [
        *(group("left"), group("taken"), group("theirs", THEIRS), group("kept", detached=True)),
        *(group("driver", kind="node:__internal_head__"), group("new", created=False)),
    ]
    actors = {OURS: {"taken", *(f"{number:036x}" for number in range(20_000))}, THEIRS: {"theirs"}}
    monkeypatch.setattr(ray_internals, "placement_groups", lambda: there)
    monkeypatch.setattr(ray_internals, "groups_of_actors", actors.__getitem__)
    assert placement_groups.empty_groups({OURS}) == {"left"}

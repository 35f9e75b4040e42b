"""What the progress of a search says."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from study.watching.progress import Progress
from study.watching.progress_bar import describe_search
from study.watching.study_count import StudyCount


def test_a_search_gets_on_with_the_steps_of_packs_that_train(tmp_path: Path) -> None:
    members = [SimpleNamespace(run_id=run_id, train=SimpleNamespace(steps=100)) for run_id in "abcd"]
    packs: Any = [SimpleNamespace(pack_id=name, members=two) for name, two in (("p", members[:2]), ("q", members[2:]))]
    teachers: Any = SimpleNamespace(specs=[], cuts_student=False)
    count, of_search = StudyCount(tmp_path), {"num_steps": 100, "num_before": 1, "num_members": 8}
    count.rows = {"of another plan": {}, "told before": {}}
    assert describe_search([], teachers, count, **of_search) == (100, "searching, members 1/8")
    count.progress = {"p": Progress(40, datetime.now(UTC), ("a", "b"))}
    assert describe_search(packs, teachers, count, **of_search) == (180, "searching, members 1/8")
    count.rows |= {"a": {}}
    assert describe_search(packs, teachers, count, **of_search) == (240, "searching, members 2/8")

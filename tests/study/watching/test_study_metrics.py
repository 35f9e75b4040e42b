"""What workers and the sweep say in metrics, and that tags stay few."""

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_record import make_record

from analysis.records.rows import compact_runs, write_run
from study.config.command_line import compose
from study.config.parse import study_config
from study.directory.layout import checkpoints_dir
from study.planning.members import plan_members, plan_packs
from study.watching import prometheus
from study.watching.progress import ProgressFiles
from study.watching.progress_bar import describe_packs
from study.watching.prometheus import PackMetrics
from study.watching.study_count import StudyCount
from study.watching.study_metrics import StudyMetrics
from trainables.specs import Member
from trainables.training.watch import MemberSight, Sight

Recorded = dict[str, dict[frozenset[tuple[str, str]], float]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Values by metric and tags, in place of Ray's."""
    values: Recorded = defaultdict(dict)

    def gauge(name: str, keys: tuple[str, ...]) -> Any:
        assert name in prometheus._DESCRIPTIONS
        return SimpleNamespace(set=lambda value, tags: values[name].update({frozenset(tags.items()): value}))

    def counter(name: str, keys: tuple[str, ...]) -> Any:
        def inc(value: float, tags: dict[str, str]) -> None:
            key = frozenset(tags.items())
            values[name][key] = values[name].get(key, 0.0) + value

        return SimpleNamespace(inc=inc)

    monkeypatch.setattr(prometheus, "_gauge", gauge)
    monkeypatch.setattr(prometheus, "_counter", counter)
    return values


OVERRIDES = ("teachers=[unet_16]", "methods=[diffusion_only,out_kd,lift]")


@pytest.fixture(scope="module")
def planned() -> list[Member]:
    return plan_members(study_config(compose("config", [*OVERRIDES, "seeds=[0,1,2,3,4]"])))


def tags(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset({"study": "digits", "teacher": "unet_16", **values}.items())


def test_a_worker_says_means_of_a_method_and_counts(recorded: Recorded, planned: list[Member]) -> None:
    lifts = [member for member in planned if member.method.name == "lift"][:2]
    points = [{"loss": 2.0, "gate": 0.5, "loss_out": 1.0}, {"loss": 4.0, "gate": 0.0, "loss_out": float("nan")}]
    sight = Sight([MemberSight(one, 10, point) for one, point in zip(lifts, points, strict=True)], 3.0, 1.5)
    PackMetrics("digits")(sight)
    PackMetrics("digits")(sight)
    assert recorded["loss"] == {tags(method="lift", term="total"): 3.0, tags(method="lift", term="out"): 1.0}
    assert recorded["gate"] == {tags(method="lift"): 0.25}
    assert recorded["member_steps"] == {tags(method="lift"): 40.0}
    assert recorded["teacher_seconds"][tags()] / recorded["training_seconds"][tags()] == 0.5


def test_the_sweep_says_what_became_of_every_member(recorded: Recorded, planned: list[Member], tmp_path: Path) -> None:
    found = plan_packs(planned, None)
    count = StudyCount(tmp_path, collapse_fid=200.0)
    metrics = StudyMetrics("digits", count, lambda: found)
    count.plan(planned)
    count.refresh()
    metrics.show()
    assert recorded["members"][tags(method="lift", state="waiting")] == 5
    rows = [(one, "ok", 500.0 if one.seed == 0 else 40.0 + one.seed) for one in planned if one.seed < 3]
    for one, status, fid in rows:
        teacher = one.teacher.name if one.teacher else None
        row = {"status": status, "fid": fid, "teacher": teacher, "method": one.method.name, "device_seconds": 7.0}
        write_run(tmp_path, make_record(one.run_id) | row)
    write = ProgressFiles(checkpoints_dir(tmp_path))
    for pack in found:
        if pack.members[0].seed == 3:
            write(pack.pack_id, 10, [one.run_id for one in pack.members])
    count.refresh()
    metrics.show()
    states = {state: recorded["members"][tags(method="lift", state=state)] for state in ("ok", "running", "waiting")}
    assert states == {"ok": 2, "running": 1, "waiting": 1}
    assert recorded["members"][tags(method="lift", state="collapsed")] == 1
    assert recorded["fid"][tags(method="lift")] == 583.0 / 3
    assert recorded["device_seconds"][tags(method="lift")] == 21.0
    assert recorded["packs"] == {
        frozenset({"study": "digits", "state": state}.items()): number
        for state, number in {"done": 6, "running": 2, "waiting": 2}.items()
    }
    compact_runs(tmp_path)
    count.refresh()
    metrics.show()
    assert recorded["fid"][tags(method="lift")] == 583.0 / 3
    assert len(recorded["members"]) == 3 * 4  # methods by the states that occurred: no run_id, no seed


def test_rows_are_read_once(tmp_path: Path) -> None:
    count = StudyCount(tmp_path)
    write_run(tmp_path, make_record("0" * 16))
    count.refresh()
    (tmp_path / "records" / "runs" / f"{'0' * 16}.parquet").write_bytes(b"")  # would be refused if it were read
    write_run(tmp_path, make_record("1" * 16))
    count.refresh()
    assert set(count.rows) == {"0" * 16, "1" * 16}


def test_bar_metrics_and_status_count_the_same(recorded: Recorded, planned: list[Member], tmp_path: Path) -> None:
    """One pack is half trained, one member of another is finished: every view says so."""
    found = plan_packs(planned, None)
    first, second = (pack for pack in found if len(pack.members) > 1 and pack.members[0].seed in (0, 1))
    ProgressFiles(checkpoints_dir(tmp_path))(first.pack_id, 40, [one.run_id for one in first.members])
    write_run(tmp_path, make_record(second.members[0].run_id))
    count = StudyCount(tmp_path, since=None)
    count.plan(planned)
    count.refresh()
    steps, remark = describe_packs(found, None, count)
    assert steps == 40 * len(first.members) + second.members[0].train.steps
    assert remark == f"packs 0/{len(found)}, members 1/{len(planned)}"
    StudyMetrics("digits", count, lambda: found).show()
    assert sum(value for key, value in recorded["members"].items() if ("state", "running") in key) == len(first.members)
    assert {one.run_id for one in count.in_state("running")} == {one.run_id for one in first.members}


def test_progress_of_an_earlier_sweep_is_not_running(planned: list[Member], tmp_path: Path) -> None:
    ProgressFiles(checkpoints_dir(tmp_path))("0" * 16, 40, [planned[0].run_id])
    count = StudyCount(tmp_path, since=datetime.now(UTC))
    count.plan(planned)
    count.refresh()
    assert count.state(planned[0].run_id) == "waiting"

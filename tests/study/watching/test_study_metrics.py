"""What workers and the sweep say in metrics, and that tags stay few."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_record import make_record

from analysis.records.rows import compact_runs, write_run
from study.config.command_line import compose
from study.config.parse import study_config
from study.planning.members import plan_members, plan_packs
from study.watching import prometheus
from study.watching.prometheus import PackMetrics
from study.watching.study_metrics import Census
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


@pytest.fixture(scope="module")
def planned() -> list[Member]:
    return plan_members(study_config(compose("config", ["teachers=[unet_16]", "methods=[diffusion_only,out_kd,lift]"])))


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
    census = Census("digits", tmp_path, None, collapse_fid=200.0)
    census.plan(found)
    census.show(set())
    assert recorded["members"][tags(method="lift", state="waiting")] == 5
    rows = [(one, "ok", 500.0 if one.seed == 0 else 40.0 + one.seed) for one in planned if one.seed < 3]
    for one, status, fid in rows:
        teacher = one.teacher.name if one.teacher else None
        row = {"status": status, "fid": fid, "teacher": teacher, "method": one.method.name, "device_seconds": 7.0}
        write_run(tmp_path, make_record(one.run_id) | row)
    census.show({pack.pack_id for pack in found if pack.members[0].seed == 3})
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
    census.show(set())
    assert recorded["fid"][tags(method="lift")] == 583.0 / 3
    assert len(recorded["members"]) == 3 * 4  # methods by states that there were: no run_id, no seed


def test_rows_are_read_once(planned: list[Member], recorded: Recorded, tmp_path: Path) -> None:
    census = Census("digits", tmp_path, None)
    write_run(tmp_path, make_record("0" * 16))
    census.show(set())
    (tmp_path / "records" / "runs" / f"{'0' * 16}.parquet").write_bytes(b"")  # would be refused if it were read
    write_run(tmp_path, make_record("1" * 16))
    census.show(set())
    assert sum(recorded["members"].values()) == 2

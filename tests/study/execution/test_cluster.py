"""Packs are counted node by node, and what can never be placed is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from study.config.study import ClusterConfig
from study.execution.cluster import Slots, _LiveSlots, count_slots, require_outlives_job

CONFIG = ClusterConfig(address="local", num_workers=1, cpus_per_worker=1, gpus_per_worker=0, dashboard_host="127.0.0.1")


@pytest.mark.parametrize(
    ("asked", "nodes", "slots"),
    [
        ({"num_workers": 3, "cpus_per_worker": 2}, [{"CPU": 8}], Slots(1, spans_nodes=False)),
        ({"num_workers": 3, "cpus_per_worker": 2}, [{"CPU": 2}] * 7, Slots(2, spans_nodes=True)),
        ({"num_workers": 2, "cpus_per_worker": 2}, [{"CPU": 3}, {"CPU": 3}, {"CPU": 5}], Slots(1, spans_nodes=False)),
        ({"gpus_per_worker": 0.25}, [{"CPU": 16, "GPU": 2}, {"CPU": 3, "GPU": 1}], Slots(11, spans_nodes=False)),
        ({"gpus_per_worker": 0.3}, [{"CPU": 99, "GPU": 8}], Slots(24, spans_nodes=False)),  # three to a GPU
        ({"gpus_per_worker": 0.1}, [{"CPU": 99, "GPU": 0.3}], Slots(3, spans_nodes=False)),
        ({"num_workers": 4, "gpus_per_worker": 1}, [{"CPU": 0}] + [{"CPU": 64, "GPU": 8}] * 64, Slots(128, False)),
        ({"memory_gb_per_worker": 3}, [{"CPU": 8, "memory": 10e9}], Slots(3, spans_nodes=False)),
    ],
)
def test_slots_are_counted_on_each_node(asked: dict[str, Any], nodes: list[dict[str, float]], slots: Slots) -> None:
    assert count_slots(replace(CONFIG, **asked), nodes) == slots


@pytest.mark.parametrize(
    ("asked", "nodes", "named"),
    [
        ({"cpus_per_worker": 4}, [{"CPU": 3}] * 2, r"workers of 4 CPUs each can never .* nodes: 2 x \(3 CPUs\)"),
        ({"gpus_per_worker": 1}, [{"CPU": 8}], r"1 GPUs each can never be placed: .* 1 x \(8 CPUs, 0 GPUs\)"),
        ({"memory_gb_per_worker": 20}, [{"CPU": 8, "memory": 1e10}], r"20 GB each .*\(8 CPUs, 10 GB\)"),
        ({}, [], "nodes: none"),
    ],
)
def test_what_can_never_be_placed_is_refused(asked: dict[str, Any], nodes: list[dict[str, float]], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        count_slots(replace(CONFIG, **asked), nodes)


def test_slots_follow_the_nodes_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes: list[dict[str, Any]] = [{"Resources": {"CPU": 2.0}, "Alive": True}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr("study.execution.cluster._LOOK_SECONDS", -1.0)
    slots = _LiveSlots(replace(CONFIG, num_workers=2), spans_nodes=False)
    assert slots() == 1
    nodes.append({"Resources": {"CPU": 5.0}, "Alive": True})
    assert slots() == 3
    nodes[1]["Alive"] = False
    assert slots() == 1
    nodes[:] = [{"Resources": {"CPU": 1.0}, "Alive": True}] * 4
    assert slots() == 0  # its packs were to stay on one node


def test_two_ranks_never_share_a_gpu() -> None:
    assert replace(CONFIG, num_workers=1, gpus_per_worker=0.5).gpus_per_worker == 0.5
    assert replace(CONFIG, num_workers=2, gpus_per_worker=1).num_workers == 2
    with pytest.raises(ValueError, match=r"cluster\.gpus_per_worker must be 0, or 1 or more, .* but got 0\.5"):
        replace(CONFIG, num_workers=2, gpus_per_worker=0.5)


def test_a_teacher_asks_for_what_a_pack_does_unless_it_is_said() -> None:
    config = replace(CONFIG, num_workers=4, cpus_per_worker=2, gpus_per_worker=1, memory_gb_per_worker=3)
    assert config.of_teachers == replace(config, num_workers=1)
    own = replace(config, teacher_num_workers=8, teacher_cpus_per_worker=1, teacher_gpus_per_worker=2).of_teachers
    assert (own.num_workers, own.cpus_per_worker, own.gpus_per_worker, own.memory_gb_per_worker) == (8, 1, 2, 3)
    with pytest.raises(ValueError, match=r"cluster\.teacher_num_workers=8 workers of 1 CPUs, 2 GPUs, 3 GB each can"):
        count_slots(own, [{"CPU": 64, "GPU": 8, "memory": 1e12}], "cluster.teacher_num_workers")
    with pytest.raises(ValueError, match=r"cluster\.teacher_gpus_per_worker must be 0, or 1 or more, .* but got 0\.25"):
        replace(CONFIG, gpus_per_worker=0.25, teacher_num_workers=2)


def test_in_a_job_the_study_lies_outside_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_outlives_job(Path("studies/x"), "local")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    require_outlives_job(tmp_path, "auto")
    with pytest.raises(ValueError, match=r"study_dir must be an absolute path or a URI in a Ray job.*studies/x"):
        require_outlives_job(Path("studies/x"), "auto")
    with pytest.raises(ValueError, match=r"cluster\.address must be auto in a Ray job.*'local'"):
        require_outlives_job(tmp_path, "local")

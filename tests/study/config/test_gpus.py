"""What gpus_per_worker is where it is not given, and what is said of GPUs that lie idle."""

from pathlib import Path

import pytest

from study.config import gpus
from study.config.command_line import compose
from study.config.study import ClusterConfig
from study.execution.cluster import idle_gpus


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.mark.parametrize(("visible", "number"), [(None, 2), ("", 0), ("1", 1), ("0,1", 2), ("-1", 0), ("0,-1,1", 1)])
def test_device_files_are_counted(
    two_gpus: Path, visible: str | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.num_local_gpus(two_gpus) == number


def test_a_worker_has_a_gpu_where_this_machine_has_one(two_gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(*overrides: str) -> float:
        return float(compose("config", overrides).cluster.gpus_per_worker)

    monkeypatch.setattr(gpus, "num_local_gpus", lambda: 2)
    assert chosen() == 1
    assert chosen("cluster.address=auto") == 0
    assert chosen("cluster.gpus_per_worker=0.25") == 0.25
    monkeypatch.setattr(gpus, "num_local_gpus", lambda: 0)
    assert chosen() == 0


@pytest.mark.parametrize(
    ("per_worker", "num_slots", "num_gpus", "said"),
    [
        (0, 4, 0, None),
        (0, 4, 2, "2 GPUs lie idle: cluster.gpus_per_worker=1"),
        (1, 2, 2, None),
        (0.25, 7, 2, None),
        (1, 2, 8, "6 of 8 GPUs lie idle: 2 packs of 1 x 4 CPUs"),
    ],
)
def test_idle_gpus_are_said(per_worker: float, num_slots: int, num_gpus: int, said: str | None) -> None:
    config = ClusterConfig(
        address="auto", num_workers=1, cpus_per_worker=4, gpus_per_worker=per_worker, dashboard_host="127.0.0.1"
    )
    notice = idle_gpus(config, num_slots, num_gpus)
    assert (notice is None) == (said is None)
    assert said is None or said in str(notice)

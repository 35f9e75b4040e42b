"""A cluster that is started here: whom it lets in, whose processes are watched, and what it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, os, stat
from pathlib import Path
import ray
from study.benchmarks.faults.victims import processes
from study.config.study import ClusterConfig
from study.execution import ray_internals
from study.execution.cluster import connected

def listening(pids):
    sockets = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(os.readlink(handle))
            except OSError:
                pass
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                yield words[1].partition(":")[0]

config = ClusterConfig(address="local", num_workers=1, cpus_per_worker=1, gpus_per_worker=0, dashboard_host="127.0.0.1")
with connected(config):
    ray.get(ray.remote(lambda: 1).remote())
    session = ray_internals.session_dir()
    print(json.dumps({
        "addresses": sorted(listening([os.getpid(), *processes()])),
        "watched": list(ray_internals.cluster_processes()),
        "mode": stat.S_IMODE(session.stat().st_mode),
        "folders": [str(session), *map(str, ray_internals.socket_dirs())],
    }))
"""


@pytest.fixture(scope="module")
def facts() -> Any:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.full
def test_every_port_of_a_local_cluster_is_on_loopback(facts: Any) -> None:
    assert len(facts["addresses"]) >= 8
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert set(facts["addresses"]) <= loopback


@pytest.mark.full
def test_what_it_cannot_do_without_is_watched(facts: Any) -> None:
    assert facts["watched"] == ["dashboard agent", "runtime-env agent", "raylet", "GCS"]


@pytest.mark.full
def test_its_folders_are_its_users_alone_and_go_with_it(facts: Any) -> None:
    assert facts["mode"] == 0o700
    assert len(facts["folders"]) == 2
    assert [folder for folder in facts["folders"] if Path(folder).exists()] == []

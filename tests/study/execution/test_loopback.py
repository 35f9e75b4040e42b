"""A cluster that is started here listens on loopback alone, whatever addresses the machine has."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, os
from pathlib import Path
import ray
from study.benchmarks.victims import processes
from study.config.study import ClusterConfig
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
    print(json.dumps(sorted(listening([os.getpid(), *processes()]))))
"""


@pytest.mark.full
def test_every_port_of_a_local_cluster_is_on_loopback() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert len(found) >= 8
    assert set(found) <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}

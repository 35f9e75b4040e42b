"""The placement group of a killed controller has no actor, and is given back; those of other jobs are not touched."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, pathlib, time
import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from study.execution import placement_groups as groups
from study.watching.events import logged_sweep

@ray.remote(num_cpus=1)
class Worker:
    def ready(self):
        return True

ray.init(address='local', num_cpus=2, include_dashboard=False, log_to_driver=False)
left, used = (placement_group([{"CPU": 1}]) for _ in range(2))
ray.get([left.ready(), used.ready()])
worker = Worker.options(scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group=used)).remote()
ray.get(worker.ready.remote())
study_dir = pathlib.Path(STUDY_DIR)
assert groups.known_jobs(study_dir) == {ray.get_runtime_context().get_job_id()}
with logged_sweep(study_dir, job=groups.this_job().rpartition("/")[0] + "/7f000000"):
    pass
jobs = groups.known_jobs(study_dir)
assert "7f000000" in jobs
found = groups.empty_groups(jobs)
groups._SECONDS_BETWEEN = 0.5
deadline = time.monotonic() + 60
with groups.freed_placement_groups(study_dir):
    while groups.empty_groups(jobs) and time.monotonic() < deadline:
        time.sleep(0.2)
names = {left.id.hex(): "left", used.id.hex(): "used"}
left_over = sorted(groups.empty_groups(jobs))
print(json.dumps([sorted(names[one] for one in found), left_over, ray.get(worker.ready.remote())]))
"""


@pytest.mark.full
def test_only_groups_without_an_actor_are_freed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"STUDY_DIR = {str(tmp_path)!r}\n{PROGRAM}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [["left"], [], True]

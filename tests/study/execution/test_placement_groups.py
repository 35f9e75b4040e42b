"""What a killed controller holds is known by that nobody works in it, and given back."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, time
import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from study.execution import placement_groups as places

@ray.remote(num_cpus=1)
class Worker:
    def ready(self):
        return True

ray.init(address='local', num_cpus=2, include_dashboard=True, log_to_driver=False)
left, used = (placement_group([{"CPU": 1}]) for _ in range(2))
ray.get([left.ready(), used.ready()])
worker = Worker.options(scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group=used)).remote()
ray.get(worker.ready.remote())
while True:
    try:
        found = places.empty_places()
        break
    except Exception:  # the dashboard of a new cluster takes its time
        time.sleep(1)
places._SECONDS_BETWEEN = 0.5
deadline = time.monotonic() + 60
with places.freeing_places():
    while places.empty_places() and time.monotonic() < deadline:
        time.sleep(0.2)
names = {left.id.hex(): "left", used.id.hex(): "used"}
print(json.dumps([sorted(names[one] for one in found), sorted(places.empty_places()), ray.get(worker.ready.remote())]))
"""


@pytest.mark.full
def test_only_places_without_anybody_are_freed() -> None:
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [["left"], [], True]

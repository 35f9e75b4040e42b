"""python lose_a_node.py <study_dir> <overrides>: submits the study as a job to a cluster of three nodes, and kills one.

In a process of its own, for Ray takes the cluster's token from the environment as it is when Ray is imported. Prints
what was seen as JSON on the last line.
"""

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))  # the cluster would inherit PYTHONPATH; it gets the code by the job
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

from ray.job_submission import JobStatus, JobSubmissionClient  # noqa: E402

from analysis.records.rows import finished_run_ids  # noqa: E402
from study.benchmarks.faults.victims import VictimCluster  # noqa: E402

ENDED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)


def lose_a_node(study_dir: Path, overrides: Sequence[str], *, num_rows: int) -> dict[str, Any]:
    """Kills one of two worker nodes when num_rows members are finished, and waits for the end of the job."""
    with VictimCluster(num_nodes=2) as cluster:
        client = JobSubmissionClient(cluster.dashboard_url)
        command = f"{sys.executable} -m study.sweep cluster.address=auto study_dir={study_dir} {' '.join(overrides)}"
        job = _submit(client, command)
        _wait(lambda: len(finished_run_ids(study_dir)) >= num_rows or client.get_job_status(job) in ENDED)
        cluster.kill_node()
        killed_at = len(finished_run_ids(study_dir))
        _wait(lambda: client.get_job_status(job) in ENDED)
        return {"rows_at_kill": killed_at, "status": client.get_job_status(job), "logs": client.get_job_logs(job)}


def _submit(client: JobSubmissionClient, command: str) -> str:
    """The job's id; waits for the agent of the head, which is there a while after the dashboard."""
    job: list[str] = []

    def submitted() -> bool:
        with suppress(RuntimeError):  # no agent yet
            job.append(client.submit_job(entrypoint=command, runtime_env={"working_dir": str(ROOT)}))
        return bool(job)

    _wait(submitted)
    return job[0]


def _wait(until: Callable[[], bool], seconds: float = 400.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.5)


if __name__ == "__main__":
    print(json.dumps(lose_a_node(Path(sys.argv[1]), sys.argv[2:], num_rows=2)))

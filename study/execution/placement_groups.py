"""Frees the placement groups that killed controllers of Ray Train leave in the cluster.

Ray would do so only when their sweep ends, too, so that a study would wait for them without end. (Its own detached
actor for that does nothing for a controller that is killed before its workers have started.) Such a group has no actor,
not even one that is about to start, and belongs to the job of this sweep or of an earlier sweep of this study, which
wrote its job into the study's log. Groups of other jobs are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.util.placement_group import remove_placement_group

from study.execution import ray_internals
from study.watching.events import EventLog, log_dir, read_events
from study.watching.periodic import called_every

_SECONDS_BETWEEN = 5.0  # an actor is in its group milliseconds after the group exists


@contextmanager
def freed_placement_groups(study_dir: Path) -> Iterator[None]:
    """Frees, while the block runs, what was without actors at two looks in a row."""
    jobs, log = known_jobs(study_dir), EventLog(log_dir(study_dir), "sweep")
    before: set[str] = set()
    failures = 0

    def look() -> None:
        nonlocal before, failures
        try:
            now = empty_groups(jobs)
            for group_id in now & before:
                remove_placement_group(ray_internals.placement_group(group_id))
            before, failures = now, 0
        except Exception as error:  # the GCS may be slow or away: the next look follows
            before, failures = set(), failures + 1
            log("placement_groups_unknown", in_a_row=failures, error=str(error))

    with called_every(_SECONDS_BETWEEN, look):
        yield


def this_job() -> str:
    """The job of this sweep, as its log names it: job ids are unique only within a session of Ray."""
    return f"{ray_internals.session_name()}/{ray.get_runtime_context().get_job_id()}"


def known_jobs(study_dir: Path) -> set[str]:
    """Ids of the jobs of this session of Ray that were sweeps of this study, and of this one."""
    session, _, own = this_job().rpartition("/")
    started = [str(event.get("job", "")) for event in read_events(study_dir) if event["event"] == "sweep_started"]
    return {own, *(job.rpartition("/")[2] for job in started if job.rpartition("/")[0] == session)}


def empty_groups(jobs: set[str]) -> set[str]:
    """Ids of the placement groups for workers, of these jobs, that have no actor. Raises where the GCS is away."""
    # Groups before actors: an actor that has started meanwhile is seen.
    ours = [group for group in ray_internals.placement_groups() if group.job_id in jobs and group.is_created]
    taken = {group_id for job_id in jobs for group_id in ray_internals.groups_of_actors(job_id)}
    return {
        group.group_id
        for group in ours
        if not group.is_detached and group.group_id not in taken and "CPU" in group.resources  # a driver's has none
    }

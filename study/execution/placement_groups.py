"""Frees the places that killed controllers of Ray Train hold in the cluster.

Ray would do so only when their sweep ends, too, so that a study would wait for them without end. (It has a detached
actor for that, which does nothing for a controller that is killed before its workers have started, and may stay for
ever itself.) Such a placement group is known by that there is no actor in it, not even one that is about to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.state import list_actors, list_jobs, list_placement_groups

from study.watching.periodic import looking

_SECONDS_BETWEEN = 5.0  # an actor is in its group milliseconds after the group is there
_LIMIT = 10_000
_OVER = ("SUCCEEDED", "FAILED", "STOPPED")


@contextmanager
def freeing_places() -> Iterator[None]:
    """Frees, while the block runs, what was without actors at two looks in a row: of this job, or of one that ended."""
    before: set[str] = set()

    def look() -> None:
        nonlocal before
        try:
            now = empty_places()
            for group_id in now & before:
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))))
            before = now
        except Exception:  # the dashboard that answers may be slow or away: the next look will do
            before = set()

    with looking(look, seconds=_SECONDS_BETWEEN):
        yield


def empty_places() -> set[str]:
    """Ids of the placement groups for workers, of this job or of jobs that are over, that have no actor."""
    context = ray.get_runtime_context()
    address = context.gcs_address
    jobs = {context.get_job_id(), *(job.job_id for job in list_jobs(address=address) if job.status in _OVER)}
    # Groups before actors: an actor that has started meanwhile is seen.
    groups = list_placement_groups(address=address, filters=[("state", "=", "CREATED")], detail=True, limit=_LIMIT)
    actors = list_actors(address=address, filters=[("state", "!=", "DEAD")], detail=True, limit=_LIMIT)
    taken = {actor.placement_group_id for actor in actors}
    return {
        group.placement_group_id
        for group in groups
        if group.creator_job_id in jobs
        and not group.is_detached
        and group.placement_group_id not in taken
        and any("CPU" in bundle["unit_resources"] for bundle in group.bundles)  # a driver's has none
    }

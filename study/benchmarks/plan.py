"""Planning a hundred thousand members: config to packs to what is missing, and to shares of the work."""

from __future__ import annotations

import resource
import time
from dataclasses import replace

from study.benchmarks.measuring import Options, Result
from study.execution.schedule import share_out
from study.planning.members import plan_packs, unfinished

NUM_MEMBERS = 100_000


def run(_options: Options) -> Result:
    """Seconds and the memory that this process has come to."""
    from study.config.command_line import compose
    from study.config.parse import study_config
    from study.planning.members import plan_members

    config = study_config(compose("config", []))
    per_seed = sum(len(config.teachers) if method.needs_teacher else 1 for method in config.methods)
    config = replace(config, seeds=tuple(range(NUM_MEMBERS // per_seed + 1)))
    before_mb = _peak_mb()
    started = time.perf_counter()
    members = plan_members(config)
    packs = unfinished(plan_packs(members, None), {member.run_id for member in members[::2]})
    shares = share_out(packs, 512, lambda pack: float(len(pack.members)))
    seconds = time.perf_counter() - started
    row = {"members": len(members), "packs": len(packs), "shares": len(shares), "seconds": seconds}
    row |= {"peak_mb": _peak_mb(), "before_mb": before_mb}
    return Result([row], {"plan_100000_s": seconds * NUM_MEMBERS / len(members), "plan_peak_mb": _peak_mb()})


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

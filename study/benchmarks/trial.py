"""What Ray costs a study, and the default study against one Ray trial a member.

The default study is run as it is; the other way on two members a teacher of one seed, and extrapolated to all members
that have a teacher. Training the teachers and starting Ray are part of both.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.benchmarks.measuring import Options, Result
from study.planning.members import plan_packs

_IDLE_SECONDS = 10.0
_TYPICAL = ("out_kd", "lift_place_feat")


def run(_options: Options) -> Result:
    """CPU seconds are those of all processes, Ray's and ours; trial_overhead_cpu_s_per_member is amortised over the
    default study's members.
    """
    from study.config.command_line import compose
    from study.config.parse import study_config
    from study.execution.cluster import connected
    from study.planning.members import plan_members

    config = study_config(compose("config", []))
    with tempfile.TemporaryDirectory() as root, CpuMeter() as meter:
        config = replace(config, study_dir=Path(root, "study"))
        empty = study_config(compose("config", [f"study_dir={root}/empty", *_EMPTY]))
        started, cpu = time.perf_counter(), meter.seconds()
        with connected(config.cluster) as cluster:
            start_s, start_cpu_s = time.perf_counter() - started, meter.seconds() - cpu
            trial_cpu_s, tune_cpu_s = _overhead(empty, cluster, meter)
            cpu = meter.seconds()
            time.sleep(_IDLE_SECONDS)
            idle_rate = (meter.seconds() - cpu) / _IDLE_SECONDS
            ours, theirs = _both_ways(config, cluster, start_s)
    num_members = len(plan_members(config))
    overhead = start_cpu_s + tune_cpu_s + cluster.num_slots * trial_cpu_s + idle_rate * ours
    values = {"study_speedup": theirs / ours, "trial_overhead_cpu_s_per_member": overhead / num_members}
    values |= {"trial_overhead_cpu_s": trial_cpu_s, "study_s": ours, "study_one_trial_a_member_s": theirs}
    rows = [
        {"what": "Ray's start", "wall_s": start_s, "cpu_s": start_cpu_s},
        {"what": "Tune's run", "cpu_s": tune_cpu_s},
        {"what": "a trial", "cpu_s": trial_cpu_s},
        {"what": "a second of the cluster", "wall_s": 1.0, "cpu_s": idle_rate},
        {"what": f"the study, {num_members} members", "wall_s": ours, "cpu_s": overhead},
        {"what": "the same, one trial a member", "wall_s": theirs},
    ]
    return Result(rows, values)


_EMPTY = (
    "train.steps=1",
    "teacher_train.steps=1",
    "teachers=[unet_16]",
    "methods=[out_kd]",
    "seeds=[0,1,2,3]",
    "evaluation.num_images=4",
    "evaluation.sampler_steps=1",
)


def _overhead(config: Any, cluster: Any, meter: CpuMeter) -> tuple[float, float]:
    """CPU seconds of one trial more and of running Tune: packs with next to no work, in one trial and in four."""
    from study.execution.pack_source import PlannedPacks
    from study.execution.run_packs import make_launch, run_trials
    from study.execution.teachers import make_teachers, missing_teachers
    from study.planning.members import plan_members

    make_teachers(config, missing_teachers(config))
    packs = plan_packs(plan_members(config), None)
    spent = []
    for shares in ([packs[:1]], [[pack] for pack in packs]):
        before = meter.seconds()
        run_trials(config, make_launch(config, "grid"), PlannedPacks(shares), cluster)
        time.sleep(2.0)  # processes that end are counted too
        spent.append(meter.seconds() - before)
    trial = (spent[1] - spent[0]) / (len(packs) - 1)
    return trial, spent[0] - trial


def _both_ways(config: Any, cluster: Any, start_s: float) -> tuple[float, float]:
    """Wall seconds of the whole study, teachers included, in packs and with one trial a member."""
    from study.costs.model import find_costs
    from study.execution.pack_source import PlannedPacks
    from study.execution.run_packs import make_launch, run_packs, run_trials
    from study.execution.teachers import missing_teachers
    from study.planning.members import plan_members

    members, costs = plan_members(config), find_costs(config)
    started = time.perf_counter()
    launch, missing = make_launch(config, "grid"), missing_teachers(config)
    with _Watch(config) as watch:
        run_packs(config, launch, plan_packs(members, None), cluster, costs, missing=missing)
    ours = start_s + time.perf_counter() - started

    with_teacher = [member for member in members if member.teacher]
    few = [member for member in with_teacher if member.seed == config.seeds[1] and member.method.name in _TYPICAL]
    alone = replace(config, study_dir=config.study_dir.parent / "alone")
    shutil.copytree(config.study_dir / "teachers", alone.study_dir / "teachers")
    started = time.perf_counter()
    run_trials(alone, make_launch(alone, "grid"), PlannedPacks([[pack] for pack in plan_packs(few, 1)]), cluster)
    theirs = start_s + watch.seconds + (time.perf_counter() - started) / len(few) * len(with_teacher)
    return ours, theirs


class _Watch:
    """How long it took until all teachers existed."""

    def __init__(self, config: Any) -> None:
        self._config, self._thread = config, threading.Thread(target=self._look, daemon=True)
        self.seconds = 0.0

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _look(self) -> None:
        from study.execution.teachers import missing_teachers

        started = time.perf_counter()
        while missing_teachers(self._config):
            time.sleep(0.5)
        self.seconds = time.perf_counter() - started


class CpuMeter:
    """CPU seconds of this process and all that descend from it, also of those that have ended."""

    def __init__(self) -> None:
        self._spent: dict[tuple[int, int], float] = {}  # by pid and start
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CpuMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def seconds(self) -> float:
        self._look()
        return sum(self._spent.values())

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self._look()

    def _look(self) -> None:
        pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
        found = dict(filter(None, map(_process, pids)))
        ours = {os.getpid()}
        while more := {pid for pid, (parent, _, _) in found.items() if parent in ours} - ours:
            ours |= more
        self._spent |= {(pid, found[pid][1]): found[pid][2] for pid in ours if pid in found}


def cpu_seconds(pid: int) -> float:
    """Of a process that lives, user and system."""
    found = _process(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return found[1][2]


def _process(pid: int) -> tuple[int, tuple[int, int, float]] | None:
    """pid -> parent, start and CPU seconds; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return pid, (int(fields[1]), int(fields[19]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))

"""A small study that is hit again and again: its records must be those of an undisturbed plain loop.

Kills, all of them SIGKILL and at random moments that follow from a seed: a Ray Train worker, a Tune driver, a Ray Train
controller, the sweep itself, and a node with everything on it. The sweep is started again whenever it was killed, as a
user would do. Only processes that were started from here are ever touched.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from analysis.records.rows import finished_run_ids
from study.benchmarks.faults.undisturbed import difference, run_undisturbed
from study.benchmarks.faults.victims import VictimCluster, kill
from study.benchmarks.measuring import Options, Result

KINDS = ("worker", "driver", "controller", "sweep", "node")
SEEDS, NUM_KILLS, LIMIT_SECONDS = (1, 2, 3), 21, 1500.0
STUDY = (
    "train.steps=200",
    "teacher_train.steps=60",
    "pack.checkpoint_every_minutes=0",
    "evaluation.num_images=64",
    "evaluation.sampler_steps=5",
    "teachers=[unet_16]",
    "methods=[diffusion_only,out_kd,lift_place_feat]",
)
_MOST_SECONDS_BETWEEN = 5.0
_HASTE = 0.25  # the share of kills after which the next one does not wait for work to go on
_WORK_OF_A_ROW = 1_000_000  # more steps than there are in any checkpoint


@dataclass(frozen=True)
class Kill:
    """lost_seconds: until more work was done than before it; None where the next kill did not wait for that."""

    kind: str
    lost_seconds: float | None


@dataclass
class Outcome:
    """A run of chaos. `differences`: what is wrong at its end, in words; empty when nothing was lost or left over."""

    seed: int
    kills: list[Kill] = field(default_factory=list)
    num_members: int = 0
    num_sweeps: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


def run(_options: Options) -> Result:
    """Kills and seconds lost by kind over all seeds. Raises RuntimeError when the records of a run differ."""
    outcomes = [run_chaos(seed, NUM_KILLS, STUDY, LIMIT_SECONDS) for seed in SEEDS]
    for outcome in outcomes:
        if outcome.differences:
            raise RuntimeError(f"seed {outcome.seed}: {'; '.join(outcome.differences)}")
    return summary(outcomes)


def summary(outcomes: Sequence[Outcome]) -> Result:
    """A row for every run, and counts and seconds lost by kind of kill over all of them."""
    rows = [
        {
            "seed": outcome.seed,
            "kills": len(outcome.kills),
            "sweeps": outcome.num_sweeps,
            "members": outcome.num_members,
            "differences": len(outcome.differences),
            "wall_s": outcome.seconds,
        }
        for outcome in outcomes
    ]
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    values = {"chaos_kills": float(len(kills))}
    for kind in KINDS:
        values[f"chaos_{kind}_kills"] = float(sum(one.kind == kind for one in kills))
        if lost := [one.lost_seconds for one in kills if one.kind == kind and one.lost_seconds is not None]:
            values |= {f"chaos_{kind}_lost_median_s": statistics.median(lost), f"chaos_{kind}_lost_max_s": max(lost)}
    return Result(rows, values)


def run_chaos(seed: int, num_kills: int, overrides: Sequence[str], limit_seconds: float) -> Outcome:
    """Runs a study under num_kills kills, and compares it with the undisturbed one; overrides: without seeds.

    The study has two seeds, and gets two more whenever it ends before all kills are spent. Raises RuntimeError when the
    sweep fails by itself, TimeoutError after limit_seconds.
    """
    outcome = Outcome(seed)
    with tempfile.TemporaryDirectory() as root:
        disturbed, reference = Path(root, "disturbed"), Path(root, "reference")
        with VictimCluster() as cluster:
            storm = _Storm(cluster, disturbed, overrides, time.monotonic() + limit_seconds)
            try:
                outcome.kills += storm.blow(random.Random(seed), num_kills)
            finally:
                storm.end()
            outcome.num_sweeps, outcome.seconds = storm.num_sweeps, storm.seconds
            outcome.differences += cluster.leaks()
        outcome.differences += cluster.left_processes()
        outcome.num_members = run_undisturbed([f"study_dir={reference}", *overrides, storm.seeds])
        outcome.differences += difference(disturbed, reference)
        outcome.differences += [f"left over: {path.name}" for path in disturbed.rglob(".*.tmp")]
        outcome.differences += ["left over: checkpoints"] if (disturbed / "checkpoints").exists() else []
    return outcome


class _Storm:
    """The sweep while it is killed again and again."""

    def __init__(self, cluster: VictimCluster, study_dir: Path, overrides: Sequence[str], deadline: float) -> None:
        self._cluster, self._study_dir, self._deadline = cluster, study_dir, deadline
        self._command = [sys.executable, "-m", "study.sweep", f"study_dir={study_dir}", *overrides]
        self._command.append(f"cluster.address={cluster.address}")
        self._log = study_dir.with_suffix(".log")
        self._num_seeds, self.num_sweeps, self._started = 2, 0, time.monotonic()
        self._start_sweep()

    @property
    def seeds(self) -> str:
        return f"seeds={list(range(self._num_seeds))}".replace(" ", "")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def blow(self, rng: random.Random, num_kills: int) -> list[Kill]:
        """Kills as often, and returns when the sweep has come to its end by itself."""
        kinds = [KINDS[index % len(KINDS)] for index in range(num_kills)]
        rng.shuffle(kinds)
        kills = []
        for kind in kinds:
            self._wait(partial(_is_past, time.monotonic() + rng.uniform(0.0, _MOST_SECONDS_BETWEEN)))
            self._wait(partial(self._can_hit, kind))
            hit_at = time.monotonic()
            self._hit(kind, rng)
            done = self._work_done()
            if rng.random() < _HASTE:
                kills.append(Kill(kind, None))
                continue
            self._wait(partial(self._has_more_than, done))
            kills.append(Kill(kind, time.monotonic() - hit_at))
        self._wait(lambda: self._sweep.poll() == 0)
        return kills

    def end(self) -> None:
        if self._sweep.poll() is None:
            self._sweep.kill()
            self._sweep.wait()

    def _start_sweep(self) -> None:
        self.num_sweeps += 1
        with self._log.open("ab") as log:
            self._sweep = subprocess.Popen([*self._command, self.seeds], stdout=log, stderr=log)

    def _wait(self, until: Callable[[], bool]) -> None:
        """Until the condition holds; keeps the sweep going meanwhile, with more seeds where it has come to its end."""
        while not until():
            if time.monotonic() > self._deadline:
                raise TimeoutError(f"the time limit of the chaos is over; the sweep said: {self._log_tail()}")
            code = self._sweep.poll()
            if code == 0:
                self._num_seeds += 2
                self._start_sweep()
            elif code is not None:
                raise RuntimeError(f"the sweep failed by itself: {self._log_tail()}")
            time.sleep(0.1)

    def _can_hit(self, kind: str) -> bool:
        return kind in ("sweep", "node") or bool(self._cluster.pids(kind))

    def _hit(self, kind: str, rng: random.Random) -> None:
        if kind == "sweep":
            self._sweep.kill()
            self._sweep.wait()
            self._start_sweep()
        elif kind == "node":
            self._cluster.kill_node()
            time.sleep(rng.uniform(0.0, 3.0))
            self._cluster.add_node()
        else:
            kill(rng.choice(self._cluster.pids(kind)))

    def _work_done(self) -> int:
        """A number that grows with every row and every checkpoint."""
        steps = [int(path.name[5:]) for path in self._study_dir.glob("checkpoints/*/step-*")]
        return len(finished_run_ids(self._study_dir)) * _WORK_OF_A_ROW + max(steps, default=0)

    def _has_more_than(self, done: int) -> bool:
        return self._work_done() > done

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def _is_past(moment: float) -> bool:
    return time.monotonic() > moment

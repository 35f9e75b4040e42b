"""A sweep with a cluster of its own is struck, and must go on or end soon in a true sentence; its records stay right.

raylet, gcs, dashboard_agent, runtime_env_agent: SIGKILL to that process of the local cluster; the sweep ends (exit 1).
hangup: SIGHUP to the sweep (130). stop: SIGSTOP for half a minute; it goes on. dying_worker, dying_teacher: every
process that trains is killed as it begins, as a bug or a full memory would do it; the sweep ends with exit code 1 and
names the member or the teacher. The study lies beside foreign files and links, and its students and checkpoints are on
scratch space behind links.
"""

from __future__ import annotations

import hashlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.records.rows import finished_run_ids
from study.benchmarks.faults.undisturbed import difference, run_undisturbed
from study.benchmarks.faults.victims import kill, processes
from study.benchmarks.measuring import Options, Result
from study.directory.claim import claim
from study.execution.losses import MOST_LOSSES

KINDS = (
    *("dying_teacher", "raylet", "gcs", "dashboard_agent"),
    *("runtime_env_agent", "hangup", "dying_worker", "stop"),
)
SEEDS = (1, 2, 3)
STUDY = (
    *("train.steps=150", "teacher_train.steps=40", "pack.checkpoint_every_minutes=0", "evaluation.num_images=64"),
    *("evaluation.sampler_steps=5", "teachers=[unet_16]", "methods=[diffusion_only,out_kd,lift_place_feat]"),
)
LINKED = ("students", "checkpoints")
_MOST_SECONDS_BEFORE = 3.0  # of work, before a strike
_STOP_SECONDS = 30.0
_LATE_SECONDS = 30.0  # for the true sentence, and for the last process
_LIMIT_SECONDS = 400.0  # of one strike on a busy machine, all starts in it
# What the titles or programs of the victims have in them.
_TITLES = {
    "raylet": re.compile(r"\S*/raylet/raylet "),
    "gcs": re.compile(r"\S*/gcs/gcs_server "),
    "dashboard_agent": re.compile("ray::DashboardAgent"),
    "runtime_env_agent": re.compile("ray::RuntimeEnvAgent"),
    "dying_worker": re.compile("ray::RayTrainWorker"),
    "dying_teacher": re.compile("ray::_make"),
}
_CLUSTER_DIED = "the local Ray cluster has died"
_SENTENCES = {
    **dict.fromkeys(("raylet", "gcs", "dashboard_agent", "runtime_env_agent"), _CLUSTER_DIED),
    "hangup": "interrupted: finished members are kept",
    "stop": "",
    "dying_worker": f"did not get on: its process died {MOST_LOSSES} times in a row",
    "dying_teacher": f"did not get on: its process died {MOST_LOSSES} times in a row",
}


@dataclass(frozen=True)
class Strike:
    """lost_seconds: from the strike (the last one) to the end of the sweep, or to more work. wrong: in words."""

    kind: str
    lost_seconds: float
    said: str  # the last sentence that a user saw
    wrong: tuple[str, ...] = ()


def run(_options: Options) -> Result:
    """Every kind under every seed, and then the end of each study. Raises RuntimeError naming what is wrong."""
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            rows += run_strikes(seed, Path(folder), STUDY)
    if wrong := [f"seed {row['seed']}, {row['kind']}: {row['wrong']}" for row in rows if row["wrong"]]:
        raise RuntimeError("; ".join(wrong))
    return Result(rows, summary(rows))


def run_strikes(seed: int, root: Path, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """All kinds on one study in a folder, which has one seed more at each, and how it ended; a row each."""
    study_dir = surroundings(root)
    before, rows = foreign(root), []
    for index, kind in enumerate(KINDS):
        found = strike(kind, study_dir, [*overrides, seeds(index + 1)], random.Random(f"{seed} {kind}"))
        rows.append(
            {
                "seed": seed,
                "kind": kind,
                "lost_s": found.lost_seconds,
                "said": found.said,
                "wrong": "; ".join(found.wrong),
            }
        )
    wrong = finished_like_undisturbed(root, [*overrides, seeds(len(KINDS))])
    wrong += ["foreign files differ"] if foreign(root) != before else []
    return [*rows, {"seed": seed, "kind": "end", "lost_s": None, "said": "", "wrong": "; ".join(wrong)}]


def seeds(number: int) -> str:
    """The override of a study of so many seeds."""
    return f"seeds={list(range(number))}".replace(" ", "")


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Counts and seconds by kind."""
    values: dict[str, float] = {}
    for kind in KINDS:
        lost = [row["lost_s"] for row in rows if row["kind"] == kind]
        values |= {f"strikes_{kind}": float(len(lost))}
        if lost:
            values |= {
                f"strikes_{kind}_lost_median_s": statistics.median(lost),
                f"strikes_{kind}_lost_max_s": max(lost),
            }
    return values


def strike(kind: str, study_dir: Path, overrides: Sequence[str], rng: random.Random) -> Strike:
    """Starts the sweep, strikes it while it works, and waits for its end. Raises TimeoutError where it hangs."""
    log = study_dir.parent / f"{kind}.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "study.sweep", f"study_dir={study_dir}", *overrides]
        sweep = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        return _Scene(kind, study_dir, sweep, log, time.monotonic() + _LIMIT_SECONDS).play(rng)
    finally:
        if sweep.poll() is None:
            sweep.kill()
            sweep.wait()


def surroundings(root: Path) -> Path:
    """Makes foreign files and links in a folder, and an empty study among them that keeps some things elsewhere."""
    names = ["work/notes.txt", "work/model/best.pt", "scratch/thesis.txt"]
    for name in (*names, *(f"scratch/{name}/resnet50/model.pt" for name in LINKED)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")
    (root / "work" / "latest").symlink_to("model")
    study_dir = root / "work" / "study"
    study_dir.mkdir()
    claim(study_dir)
    for name in LINKED:
        (study_dir / name).symlink_to(Path("..", "..", "scratch", name))
    return study_dir


def foreign(root: Path) -> dict[str, str]:
    """The digests of the files, and the ends of the links, that are not the study's."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        ours = re.match(rf"work/(study/|\w+\.log)|scratch/({'|'.join(LINKED)})/[0-9a-f]{{16}}|reference", name)
        if not ours and path.is_symlink():
            found[name] = str(path.readlink())
        elif not ours and path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def finished_like_undisturbed(root: Path, overrides: Sequence[str]) -> list[str]:
    """Runs the sweep to its end and the same study in peace; returns what is wrong, in words."""
    study_dir, reference = root / "work" / "study", root / "reference"
    command = [sys.executable, "-m", "study.sweep", f"study_dir={study_dir}", *overrides]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    if result.returncode:
        return [f"the last sweep ended with {result.returncode}: {result.stderr[-500:]}"]
    run_undisturbed([f"study_dir={reference}", *overrides])
    found = difference(study_dir, reference)
    found += [f"{name} is no link any more" for name in LINKED if not (study_dir / name).is_symlink()]
    found += [f"left over: {path}" for path in study_dir.rglob(".*.tmp")]
    return found + [f"left over: {path.name}" for path in study_dir.glob("sweep-*")]


@dataclass
class _Scene:
    kind: str
    study_dir: Path
    sweep: subprocess.Popen[bytes]
    log: Path
    deadline: float
    told_after: float | None = None  # seconds from a death to the line about it, where it was the second in a row

    def play(self, rng: random.Random) -> Strike:
        if self.kind.startswith("dying"):
            struck = self._kill_all()
        else:
            before = self._work_done()
            self._wait(lambda: self._work_done() > before or self._has_ended())
            time.sleep(rng.uniform(0.0, _MOST_SECONDS_BEFORE))
            struck = self._hit()
        own = processes()
        if self.kind == "stop":
            done = self._work_done()
            self._wait(lambda: self._work_done() > done or self._has_ended())
            lost = time.monotonic() - struck
            if not self._has_ended():
                self.sweep.send_signal(signal.SIGINT)
            self._wait(self._has_ended)
            wrong = self._wrong(lost, (0, 130))
            return Strike(self.kind, lost, self._said() if wrong else "it went on", (*wrong, *self._left(own)))
        self._wait(self._has_ended)
        lost = time.monotonic() - struck
        codes = (130,) if self.kind == "hangup" else (1,)
        return Strike(self.kind, lost, self._said(), (*self._wrong(lost, codes), *self._left(own)))

    def _has_ended(self) -> bool:
        return self.sweep.poll() is not None

    def _hit(self) -> float:
        struck = time.monotonic()
        if self.kind == "hangup":
            self.sweep.send_signal(signal.SIGHUP)
        elif self.kind == "stop":
            self.sweep.send_signal(signal.SIGSTOP)
            time.sleep(_STOP_SECONDS)
            struck = time.monotonic()
            self.sweep.send_signal(signal.SIGCONT)
        else:
            for pid in self._victims()[:1]:
                kill(pid)
        return struck

    def _kill_all(self) -> float:
        """Kills each process of the kind as it begins, until the sweep ends; returns when the last one was killed."""
        killed: list[int] = []
        struck = time.monotonic()

        def look() -> bool:
            nonlocal struck
            for pid in self._victims():
                if pid not in killed:
                    kill(pid)
                    killed.append(pid)
                    struck = time.monotonic()
            if self.told_after is None and "again without progress" in self._text():
                self.told_after = time.monotonic() - struck
            return self._has_ended() or self._text().count(_SENTENCES[self.kind]) > 0

        self._wait(look)
        return struck

    def _victims(self) -> list[int]:
        return sorted(pid for pid, title in processes().items() if _TITLES[self.kind].match(title))

    def _work_done(self) -> tuple[int, int]:
        """Grows with every row and every checkpoint."""
        steps = [int(path.name[5:]) for path in self.study_dir.glob("checkpoints/*/step-*")]
        return len(finished_run_ids(self.study_dir)), sum(steps)

    def _wait(self, until: Callable[[], bool]) -> None:
        while not until():
            if time.monotonic() > self.deadline:
                raise TimeoutError(f"{self.kind}: the sweep hangs; it said: {self._text()[-2000:]}")
            time.sleep(0.1)

    def _text(self) -> str:
        return self.log.read_text(errors="replace")

    def _said(self) -> str:
        lines = [line for line in self._text().splitlines() if line.startswith(("failed: ", "interrupted: "))]
        return lines[-1] if lines else ""

    def _wrong(self, lost: float, codes: Sequence[int]) -> list[str]:
        text = self._text()
        found = [f"exit code {self.sweep.returncode}"] if self.sweep.returncode not in codes else []
        found += ["no true sentence"] if _SENTENCES[self.kind] not in text else []
        found += ["a traceback"] if "Traceback" in text else []
        found += [f"said after {lost:.0f} s"] if lost > _LATE_SECONDS else []
        if self.kind.startswith("dying") and (self.told_after is None or self.told_after > _LATE_SECONDS):
            found.append("the second death was not told in time")
        return found

    def _left(self, own: dict[int, str]) -> list[str]:
        """Leases, and processes of the sweep that outlive it for long: an agent looks for its raylet now and then."""
        deadline = time.monotonic() + _LATE_SECONDS
        while (left := [pid for pid in own if _lives(pid, own[pid])]) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [*(f"process {own[pid]}" for pid in left), *(path.name for path in self.study_dir.glob("sweep-*"))]


def _lives(pid: int, title: str) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip() == title
    except OSError:
        return False

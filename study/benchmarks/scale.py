"""What a study costs the machine that it is started on: up to 64 nodes of 8 GPUs and 5,000 members.

Ray, its nodes, Tune, the plan, the records and all that looks at them are real. The GPUs are not: a pack takes the
eight of a node, trains nothing and writes the rows of its members. All nodes share this machine, so the rates are lower
bounds of what a head schedules and records. What grows with the study is measured at 100,000 members without nodes.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.benchmarks.measuring import Options, Result
from study.execution.schedule import share_out
from study.planning.members import plan_packs

if TYPE_CHECKING:
    from study.config.study import StudyConfig
    from study.planning.members import Pack

SIZES = {1: 1000, 8: 1000, 64: 5000}  # members of the sweep, by the number of nodes
MEMBERS = (5_000, 100_000)  # of the studies that are looked at
_WARM_UP = 0.2  # of the members, whose records are there before rates are taken: processes start meanwhile
GPUS_PER_NODE = 8
PACKS_PER_TRIAL = 4
STEPS = 40  # of the examples: so long a curve has a member
_METHODS = "[out_kd,feat_kd,out_feat_kd,lift_place,lift_place_feat]"  # a pack has one member of each
_STUDY = (
    "teachers=[unet_16]",
    f"methods={_METHODS}",
    "seeds=[0]",
    f"train.steps={STEPS}",
    "teacher_train.steps=1",
    "evaluation.num_images=16",
    "evaluation.sampler_steps=1",
)
_VALUES = ("records_per_s", "trials_per_s", "sweep_cpu_s_per_member", "gcs_cpu_s_per_member", "sweep_mb", "node_mb")


def run(_options: Options) -> Result:
    """A row for every size: seconds until the first record, members and trials a second from then on, CPU s a member
    of the sweep itself, of Ray's bookkeeping (GCS) and of everything, memory of the sweep and of an idle node, MB.
    """
    from study.benchmarks.faults.victims import require_token

    require_token()  # before anything imports Ray
    with tempfile.TemporaryDirectory(prefix="kd-", dir="/tmp", ignore_cleanup_errors=True) as root:
        examples = _Examples.make(Path(root, "examples"))
        rows = []
        for nodes, members in SIZES.items():
            with _fake_cluster(nodes) as fake:
                rows.append(_sweep(Path(root, f"nodes-{nodes}"), fake, members, examples))
        looks = [_look(Path(root, f"looks-{members}"), members, examples) for members in MEMBERS]
    last = rows[-1]
    values = {f"scale_{name}": last[name] for name in _VALUES}
    values |= {f"scale_look_s_{look['members']}": look["bar_s"] + look["metrics_s"] for look in looks}
    return Result([*rows, *looks], values)


_RUN = "import sys; from study.benchmarks.faults.undisturbed import run_undisturbed; run_undisturbed(sys.argv[1:])"


@dataclass(frozen=True)
class _Examples:
    """A real row and curve of every method, which the members of the simulation are given."""

    config: StudyConfig
    rows: Mapping[str, Mapping[str, Any]]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]

    @classmethod
    def make(cls, study_dir: Path) -> _Examples:
        from analysis.records.rows import read_curve, read_runs
        from study.config.command_line import compose
        from study.config.parse import study_config

        overrides = [f"study_dir={study_dir}", *_STUDY]
        # In a process of its own, whose memory is not counted.
        subprocess.run([sys.executable, "-c", _RUN, *overrides], check=True, stdout=subprocess.DEVNULL)
        rows = {row["method"]: row for row in read_runs(study_dir).to_pylist()}
        curves = {method: read_curve(study_dir, row["run_id"]).to_pylist() for method, row in rows.items()}
        return cls(study_config(compose("config", overrides)), rows, curves)

    def packs(self, num_members: int) -> list[Pack]:
        from study.planning.members import plan_members

        config = replace(self.config, seeds=tuple(range(num_members // len(self.rows))))
        return plan_packs(plan_members(config), None)

    def rows_of(self, pack: Pack) -> list[dict[str, Any]]:
        from trainables.specs import canonical_json

        return [
            {
                **self.rows[member.method.name],
                "run_id": member.run_id,
                "train_id": member.train_id,
                "seed": member.seed,
                "member": canonical_json(member.identity()),
            }
            for member in pack.members
        ]


def _sweep(study_dir: Path, fake: _Fake, num_members: int, examples: _Examples) -> dict[str, Any]:
    """Runs a study, several packs a trial as in one that is planned."""
    import pyarrow as pa
    import ray

    from analysis.records.parquet import write_table
    from analysis.records.rows import RUN_SCHEMA, runs_dir
    from study.benchmarks.trial import CpuMeter
    from study.benchmarks.trivial_pack import TrivialJob, write_trivial_packs
    from study.directory.layout import checkpoints_dir
    from study.execution.cluster import Cluster
    from study.execution.pack_source import PlannedPacks
    from study.execution.run_packs import make_launch, run_trials, trial_name
    from study.watching.periodic import called_every
    from study.watching.progress import ProgressFiles
    from study.watching.progress_bar import bar, describe_packs
    from study.watching.study_count import StudyCount
    from study.watching.study_metrics import StudyMetrics

    packs = examples.packs(num_members)
    prepared = study_dir / "prepared"
    shares = [packs[start : start + PACKS_PER_TRIAL] for start in range(0, len(packs), PACKS_PER_TRIAL)]
    for share in shares:
        rows = pa.Table.from_pylist([row for pack in share for row in examples.rows_of(pack)], schema=RUN_SCHEMA)
        write_table(rows, prepared / f"{trial_name(share)}.parquet")
    memory = [_resident_mb()]
    with CpuMeter() as meter, called_every(1.0, lambda: memory.append(_resident_mb())):
        config = replace(examples.config, study_dir=study_dir)
        pack_ids = {trial_name(share): [pack.pack_id for pack in share] for share in shares}
        progress = ProgressFiles(checkpoints_dir(study_dir))
        trivial = TrivialJob(study_dir, prepared, pack_ids, examples.curves, progress)
        launch = replace(make_launch(config, "grid"), job=ray.put(trivial))
        cluster = Cluster(fake.num_nodes, 0.0, None, spans_nodes=False, live_slots=lambda: fake.num_nodes)
        started = time.time()
        cpu, total, gcs = time.process_time(), meter.seconds(), fake.gcs_seconds()
        count = StudyCount(study_dir)
        count.plan(member for pack in packs for member in pack.members)
        metrics = StudyMetrics("scale", count, lambda: packs)
        describe = partial(describe_packs, packs, None)
        with bar(count, describe, total=num_members * STEPS, show=metrics.show):
            run_trials(
                config,
                launch,
                PlannedPacks(shares),
                cluster,
                trainable=write_trivial_packs,
                resources={"CPU": 0, "GPU": GPUS_PER_NODE},
            )
        cpu, total, gcs = time.process_time() - cpu, meter.seconds() - total, fake.gcs_seconds() - gcs
    written = sorted(path.stat().st_mtime for path in runs_dir(study_dir).iterdir())
    assert len(written) == num_members
    later = written[int(_WARM_UP * num_members) :]
    records_per_s = (len(later) - 1) / (later[-1] - later[0])
    return {
        "nodes": fake.num_nodes,
        "gpus": fake.num_nodes * GPUS_PER_NODE,
        "members": num_members,
        "trials": len(shares),
        "first_record_s": written[0] - started,
        "records_per_s": records_per_s,
        "trials_per_s": records_per_s * len(shares) / num_members,
        "sweep_cpu_s_per_member": cpu / num_members,
        "gcs_cpu_s_per_member": gcs / num_members,
        "all_cpu_s_per_member": total / num_members,
        "sweep_mb": max(memory),
        "node_mb": fake.node_mb,
    }


def _look(study_dir: Path, num_members: int, examples: _Examples) -> dict[str, Any]:
    """Seconds of one look of the progress bar and of the metrics at a study of which half is finished, and before."""
    import pyarrow as pa

    from analysis.records.parquet import write_table
    from analysis.records.rows import RUN_SCHEMA, runs_dir
    from study.watching.progress_bar import describe_packs
    from study.watching.study_count import StudyCount
    from study.watching.study_metrics import StudyMetrics

    before_mb, started = _resident_mb(), time.perf_counter()
    packs = examples.packs(num_members)
    share_out(packs, 512, lambda pack: float(len(pack.members)))
    plan_s = time.perf_counter() - started
    finished = packs[: len(packs) // 2]
    rows = pa.Table.from_pylist([row for pack in finished for row in examples.rows_of(pack)], schema=RUN_SCHEMA)
    write_table(rows, runs_dir(study_dir) / f"bundle-{0:016x}.parquet")
    del rows
    with _fake_cluster(0):
        count = StudyCount(study_dir)
        count.plan(member for pack in packs for member in pack.members)
        count.refresh()
        metrics_s = _seconds(StudyMetrics("scale", count, lambda: packs).show)

        def draw() -> None:
            count.refresh()
            describe_packs(packs, None, count)

        bar_s = _seconds(draw)
    found = {"members": num_members, "packs": len(packs), "plan_s": plan_s, "metrics_s": metrics_s, "bar_s": bar_s}
    return found | {"sweep_mb": _resident_mb() - before_mb}


def _seconds(look: Callable[[], object]) -> float:
    started = time.perf_counter()
    look()
    return time.perf_counter() - started


def _resident_mb() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize() / 1e6


@contextmanager
def _fake_cluster(num_nodes: int) -> Iterator[_Fake]:
    """A cluster of a head, which has no room for packs, and nodes that say they have GPUs; connected."""
    import ray

    from study.benchmarks.faults.victims import VictimCluster, processes

    before = set(processes())
    with VictimCluster(0, num_cpus=0, num_gpus=GPUS_PER_NODE) as cluster:
        head = processes()
        for _ in range(num_nodes):
            cluster.add_node()
        of_nodes = set(processes()) - set(head)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        gcs = [pid for pid, title in head.items() if "gcs_server" in title and pid not in before]
        try:
            yield _Fake(num_nodes, gcs, sum(map(_proportional_mb, of_nodes)) / num_nodes if num_nodes else None)
        finally:
            ray.shutdown()


@dataclass(frozen=True)
class _Fake:
    """gcs: process ids of Ray's bookkeeping. node_mb: memory of the processes of a node that does nothing, pages that
    processes share divided among them; None without nodes.
    """

    num_nodes: int
    gcs: Sequence[int]
    node_mb: float | None

    def gcs_seconds(self) -> float:
        """CPU seconds of Ray's bookkeeping so far."""
        from study.benchmarks.trial import cpu_seconds

        return sum(map(cpu_seconds, self.gcs))


def _proportional_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0  # it has ended
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

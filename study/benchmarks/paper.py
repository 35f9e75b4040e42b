"""One real step of each paper experiment's true teacher and student, from its config to its row, on the CPU.

The networks, losses, pruning and optimiser are those of the experiment; images or latents are noise of its shape, the
batch is the smallest, and 4 images are sampled with one step each. Teachers of the hub are built with the weights that
they would be trained from. Each experiment has a process of its own; what the machine cannot hold says so by
arithmetic.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from analysis.records.rows import read_runs
from study.benchmarks.measuring import Options, Result
from study.config.command_line import compose
from study.config.options import option_config
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.costs.memory import memory_bytes
from study.costs.model import Counts
from study.directory.layout import folders
from study.execution.run_packs import make_sink
from study.planning.members import plan_members, plan_packs, plan_teachers
from trainables.data import SOURCES, Dataset, data_shape
from trainables.data.generated import Generated
from trainables.folders import Folders
from trainables.models import build_model, count
from trainables.models.digest import weights_digest
from trainables.models.facts import TEACHER
from trainables.models.saved import save_model
from trainables.models.students import make_initial
from trainables.protocol import EvaluationSpec
from trainables.specs import PrunedSpec, TeacherSpec, content_id
from trainables.training.pack import run_pack
from trainables.training.teachers import make_teacher

_CELEBA = ("data.size=64", "data.channels=3", "train.batch_size=2")
_LSUN = ("data.size=256", "data.channels=3", "train.batch_size=2")
_LATENTS = "train.batch_size=1"
_SD21 = ("data.size=64", "data.channels=4", "data.text=[77,1024]", _LATENTS)
# Overrides by experiment: the shape of its data, and its smallest batch (two, where timesteps are antithetic).
EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "celeba_table1": _CELEBA,
    "celeba_table6": _CELEBA,
    "table8_ablation": _CELEBA,
    "group_size_ablation": _CELEBA,
    "lsun_bedroom": _LSUN,
    "imagenet_dit_table7": ("data.size=32", "data.channels=4", "data.num_classes=1000", _LATENTS),
    "sd21_bksdm": _SD21,
    "sd21_bksdm student.pruning.variant=tiny": _SD21,
    "sd3_flow": ("data.size=64", "data.channels=16", "data.text=[333,4096]", "data.pooled=2048", _LATENTS),
}
_SMALLEST = (
    *("data=generated", "data.num_images=4", "seeds=[0]", "methods=[lift_place_feat]"),
    *("evaluation=digits", "evaluation.num_images=4", "evaluation.sampler_steps=1", "evaluation.image_size=8"),
    "evaluation.neighbours=3",
)
_STATES = 6  # of a model in training: weights, gradients, two moments, EMA, and that as a model of its own


@dataclass(frozen=True, kw_only=True)
class _Noise(Generated):
    """Noise; latents of more than three channels are measured by their first three, as if those were decoded images."""

    def load(self) -> Dataset:
        return replace(super().load(), decoder=lambda latents: latents[:, :3])


def run(_options: Options) -> Result:
    """A row an experiment: the columns of its record, or why there is none. `paper_rows` counts the records."""
    rows = [_in_own_process(name) for name in EXPERIMENTS]
    return Result(rows, {"paper_rows": sum(row["outcome"] == "ok" for row in rows)})


def _in_own_process(name: str) -> dict[str, Any]:
    found = subprocess.run(
        [sys.executable, "-m", "study.benchmarks.paper", name], capture_output=True, text=True, check=False
    )
    if found.returncode:
        return {"experiment": name, "outcome": found.stderr.strip().splitlines()[-1]}
    row: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return row


def one_step(name: str) -> dict[str, Any]:
    """Makes the experiment's teachers and student, trains one member for a step, and gives its row."""
    SOURCES["generated"] = _Noise  # in a process of its own
    with tempfile.TemporaryDirectory() as folder:
        config = smallest(name, Path(folder))
        counts = Counts.of(config)
        need, free = needed_bytes(config, counts), _free_bytes()
        facts = {"experiment": name, "batch_size": config.train.batch_size, "needs_gb": need / 1e9}
        if need > free:
            params = ", ".join(f"{size.params / 1e6:.0f}M" for size in counts.teachers.values())
            reason = f"not held: {need / 1e9:.1f} GB of {free / 1e9:.1f} GB (teachers {params})"
            return {**facts, "outcome": f"{reason}, student {counts.student.params / 1e6:.0f}M"}
        where = folders(config.study_dir)
        for spec in plan_teachers(config):
            _make(spec, config.evaluation, where)
        assert isinstance(config.student, PrunedSpec)
        make_initial(config.student, where.teachers, where.initial)
        for pack in plan_packs(plan_members(config), 1):
            run_pack(pack.members, where, make_sink(config, "grid"))
        found = read_runs(config.study_dir).to_pylist()
        columns = ("student_params", "student_macs", "train_seconds", "eval_seconds", "peak_memory_mb")
        return {
            **facts,
            "outcome": "ok" if all(row["status"] == "ok" for row in found) else "diverged",
            "records": len(found),
            "teachers": " ".join(f"{row['teacher']}:{row['teacher_params']}" for row in found),
            **{column: max(row[column] for row in found) for column in columns},
        }


def smallest(name: str, study_dir: Path) -> StudyConfig:
    """The experiment at the paper's scale, with the smallest data, batch and evaluation, for one step."""
    experiment, *own = name.split()
    cfg = compose(
        "config", [f"+experiment={experiment}", *_SMALLEST, *own, *EXPERIMENTS[name], f"study_dir={study_dir}"]
    )
    raw: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    raw["teachers"] = [_entry(name) for name in raw["teachers"]]
    raw["student"]["teacher"] = _entry(raw["student"]["teacher"])
    raw["student"]["pruning"] = _short(raw["student"]["pruning"])
    for part in ("train", "teacher_train"):
        raw[part] |= {"steps": 1, "batch_size": raw["train"]["batch_size"]}
    if raw["process"]["scheduler"].startswith("Flow"):
        raw["evaluation"]["sampler"] = "euler"
    return study_config(OmegaConf.create(raw))


def needed_bytes(config: StudyConfig, counts: Counts) -> int:
    """The most that training a member takes, or a teacher that is not of the hub; each with its EMA as a model."""
    packs = plan_packs(plan_members(config), 1)
    own = [counts.teachers[spec.teacher_id].params for spec in plan_teachers(config) if not _is_of_hub(spec.name)]
    return max(memory_bytes(config, counts, packs) + 4 * counts.student.params, 4 * _STATES * max(own, default=0))


def _entry(name: str) -> dict[str, Any]:
    """A teacher without what the hub would give, and cut in one pass over one image where it is cut."""
    own = {key: value for key, value in option_config("teacher", name).items() if key not in ("hub", "subfolder")}
    if "pruning" in own:
        teacher = _entry(own["teacher"])
        own |= {"teacher": teacher, "pruning": _short(own["pruning"]), "train": {**own.get("train", {}), "steps": 1}}
    return own


def _short(pruning: Mapping[str, Any]) -> dict[str, Any]:
    is_short = pruning["how"] == "diff_pruning"
    return {**pruning, **({"num_steps": 1, "batch_size": 1} if is_short else {})}


def _is_of_hub(name: str) -> bool:
    return "hub" in option_config("teacher", name)


def _make(spec: TeacherSpec, evaluation: EvaluationSpec, where: Folders) -> None:
    """Trains the teacher for its step; one of the hub is put there as it would be, its FID not measured."""
    if not _is_of_hub(spec.name):
        make_teacher(spec, evaluation, where)
        return
    shape = data_shape(spec.data)
    size, model = count(spec.model, shape), build_model(spec.model, shape, seed=0)
    facts = {"name": spec.name, "params": size.params, "macs": size.macs, "digest": weights_digest(model)}
    evaluations = {content_id(evaluation.identity()): {"fid": None}}
    save_model(model, where.teachers / spec.teacher_id, TEACHER, {**facts, "evaluations": evaluations}, spec.process)


def _free_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(one_step(sys.argv[1])))

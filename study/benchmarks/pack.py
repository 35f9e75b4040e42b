"""One teacher pass for all members of a pack against one pass for each: training alone, and finished members."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from study.benchmarks.gpu import celeba_pack
from study.benchmarks.measuring import Options, Result, take_turns
from trainables.data import Dataset
from trainables.data.digits import Digits
from trainables.folders import Folders
from trainables.models import build_model, count
from trainables.ranks import Ranks
from trainables.specs import Member, ModelSpec, TeacherSpec
from trainables.training.pack import Progress, run_pack, train_pack

NUM_STEPS_FLAT = 5
STUDY = (
    "teachers=[unet_16,unet_64,unet_160]",
    "methods=[diffusion_only,feat_kd,out_kd,out_feat_kd,lift,lift_feat,lift_place,lift_place_feat]",
    "seeds=[0]",
    "train.steps=100",
)


def run(options: Options) -> Result:
    """`speedup`: member-steps/s of one pack over those of packs of one member, in one process.

    On the CPU all methods on three teachers of the digits, 100 steps: pack_speedup is over all of the teachers.
    pack_flatness: member-steps/s of 96 members in one pack over those of 12. On a GPU: gpu/celeba_pack.py.
    """
    if options.device.type == "cuda":
        return celeba_pack.run(options)
    packs = packs_of_all_methods()
    data = Digits().load()
    rows = [_training(pack, data, options) for pack in packs]
    finished = _finished(packs[-1], options)
    flat = _flatness(packs[0], data, options)
    total = sum(row["alone_ms"] for row in rows) / sum(row["pack_ms"] for row in rows)
    values = {"pack_speedup": total, "pack_speedup_of_the_largest_teacher": rows[-1]["speedup"]}
    values |= {"pack_speedup_finished_members": finished["speedup"], "pack_flatness": flat}
    return Result([*rows, finished], values)


def packs_of_all_methods() -> list[list[Member]]:
    """The packs of one seed, one a teacher, the largest teacher last."""
    from study.config.command_line import compose
    from study.config.parse import study_config
    from study.planning.members import plan_members, plan_packs

    config = study_config(compose("config", STUDY))
    first = [one for one in plan_members(config) if one.seed == config.seeds[0] and one.teacher]
    return [list(pack.members) for pack in reversed(plan_packs(first, None))]


def _training(members: Sequence[Member], data: Dataset, options: Options) -> dict[str, Any]:
    teacher = _teacher(members[0].teacher, data, options)

    def train(packs: Sequence[Sequence[Member]]) -> None:
        for pack in packs:
            train_pack(pack, teacher, data, **_quietly(options))

    runs = {"pack": lambda: train([members]), "alone": lambda: train([[one] for one in members])}
    times = take_turns(runs, options, warm_up=False)  # they take long enough
    num_member_steps = len(members) * members[0].train.steps
    student = members[0].student
    assert isinstance(student, ModelSpec)
    student_params = count(student, data.shape).params
    return {
        "what": "training",
        "teacher": members[0].teacher.name if members[0].teacher else None,
        "gap": sum(parameter.numel() for parameter in teacher.parameters()) / student_params,
        "members": len(members),
        "pack_ms": 1e3 * times["pack"].seconds / num_member_steps,
        "alone_ms": 1e3 * times["alone"].seconds / num_member_steps,
        "pack_cpu_ms": 1e3 * times["pack"].cpu_seconds / num_member_steps,
        "alone_cpu_ms": 1e3 * times["alone"].cpu_seconds / num_member_steps,
        "speedup": times["alone"].over(times["pack"]),
    }


def _finished(pack: Sequence[Member], options: Options) -> dict[str, Any]:
    """From loading the teacher to the evaluation's end; per finished member."""
    spec = pack[0].teacher
    assert spec is not None
    teacher = _teacher(spec, Digits().load(), options)
    with tempfile.TemporaryDirectory() as root:
        folders = Folders(*(Path(root, name) for name in ("teachers", "initial", "students", "reference")))
        teacher.save_pretrained(folders.teachers / spec.teacher_id)  # type: ignore[operator]
        copies = iter(range(10**6))

        def finish(split: bool) -> None:
            fresh = [[one] for one in pack] if split else [list(pack)]
            for members in fresh:
                where = replace(folders, students=Path(root, f"students-{next(copies)}"))
                run_pack(members, where, lambda _result: None)

        runs = {"pack": lambda: finish(False), "alone": lambda: finish(True)}
        times = take_turns(runs, options, repeats=1, warm_up=False)
    return {
        "what": "finished",
        "teacher": spec.name,
        "members": len(pack),
        "pack_ms": 1e3 * times["pack"].seconds / len(pack),
        "alone_ms": 1e3 * times["alone"].seconds / len(pack),
        "pack_cpu_ms": 1e3 * times["pack"].cpu_seconds / len(pack),
        "alone_cpu_ms": 1e3 * times["alone"].cpu_seconds / len(pack),
        "speedup": times["alone"].over(times["pack"]),
    }


def _flatness(pack: Sequence[Member], data: Dataset, options: Options) -> float:
    """Member-steps/s of a pack of 96 members over those of a pack of 12: settings of out_kd on one seed."""
    one = next(one for one in pack if one.method.name == "out_kd")
    one = replace(one, train=replace(one.train, steps=NUM_STEPS_FLAT))
    many = [replace(one, method=replace(one.method, lambda_out=0.01 * (1 + i))) for i in range(96)]
    teacher = _teacher(one.teacher, data, options)

    def train(members: Sequence[Member]) -> None:
        train_pack(members, teacher, data, **_quietly(options))

    times = take_turns({"96": lambda: train(many), "12": lambda: train(many[:12])}, options, repeats=9)
    return 8 / times["96"].over(times["12"])


def _teacher(spec: TeacherSpec | None, data: Dataset, options: Options) -> nn.Module:
    assert spec is not None
    teacher = build_model(spec.model, data.shape, seed=0)
    return nn.Module.to(teacher, options.device).eval().requires_grad_(False)


def _quietly(options: Options) -> dict[str, Any]:
    """What `train_pack` takes besides: nothing is kept or reported, and no student is a pruned one."""
    return {"initial": Path(), "device": options.device, "ranks": Ranks(), "progress": Progress()}

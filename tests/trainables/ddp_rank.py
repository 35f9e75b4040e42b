"""One rank of a data-parallel pack: trains it with and without the shared gate, and writes what came out (rank 0)."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist
from tiny import SHAPE, evaluation_spec, folders, member, teacher_spec, train_spec, unet

from trainables.data.digits import Digits
from trainables.models import build_model, load_model
from trainables.models.saved import read_facts
from trainables.ranks import Ranks
from trainables.specs import Member, PrunedSpec, TeacherSpec
from trainables.training.checkpoints import Checkpoints
from trainables.training.execution import BY_DEFAULT, Execution
from trainables.training.pack import Progress, train_pack
from trainables.training.teachers import make_teacher

TRAIN = train_spec(steps=20, batch_size=8, precision="float64")
MEMBERS = [
    member("lift_place_feat", train=TRAIN, group_size=32, lambda_feat=1e-2),
    member("out_feat_kd", train=TRAIN, lambda_feat=1e-2),
    member("out_kd", train=TRAIN, lambda_out=1e308),
]
OF_TEACHERS = train_spec(steps=6, batch_size=8, precision="float64", key="teacher_train")
LARGEST = teacher_spec(model=unet(8), train=OF_TEACHERS)
HALF = {"how": "diff_pruning", "ratio": 0.5, "num_steps": 2, "batch_size": 4}
TEACHERS = [LARGEST, teacher_spec(model=PrunedSpec(name="half", teacher=LARGEST, pruning=HALF), train=OF_TEACHERS)]


class GateOfItsOwn(Ranks):
    """Ranks that keep their statistics to themselves; gradients are still averaged."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return values


def outcome(
    ranks: Ranks,
    members: Sequence[Member] = MEMBERS,
    checkpoints: Checkpoints | None = None,
    progress: Callable[[int], None] = lambda _steps: None,
    execution: Execution = BY_DEFAULT,
) -> list[dict[str, object]]:
    """Weights, curve and divergence of each member after training."""
    torch.set_num_threads(1)
    teacher = build_model(unet(8), SHAPE, seed=100).double().eval().requires_grad_(False)
    students = train_pack(
        members,
        teacher,
        Digits().load(),
        initial=Path(),
        device=torch.device("cpu"),
        ranks=ranks,
        progress=Progress(progress, interval_seconds=-1.0),
        checkpoints=checkpoints,
        execution=execution,
    )
    return [
        {
            "weights": None if student.model is None else _vector(student.model),
            "curve": student.curve,
            "diverged_at_step": student.diverged_at_step,
        }
        for student in students
    ]


def _vector(model: torch.nn.Module) -> list[float]:
    weights: list[float] = torch.nn.utils.parameters_to_vector(model.parameters()).tolist()
    return weights


def resumed(ranks: Ranks, folder: Path) -> dict[str, object]:
    """Two members after an interruption at step 14, with a checkpoint a step; and the steps taken after it."""
    checkpoints, steps = Checkpoints(folder, 0), []
    members = [MEMBERS[0], MEMBERS[2]]

    def interrupt(step: int) -> None:
        if step == 14:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        outcome(ranks, members, checkpoints, interrupt)
    return {"outcomes": outcome(ranks, members, checkpoints, steps.append), "steps": steps}


def teachers(ranks: Ranks, root: Path) -> dict[str, object]:
    """A teacher, and another that is cut from it, made by all ranks.

    The first is interrupted at step 4, with a checkpoint a step; `steps`: those taken after it, by rank 0.
    """
    torch.set_num_threads(1)
    where, steps = folders(root), []
    checkpoints = Checkpoints(root / "checkpoints", 0)

    def make(spec: TeacherSpec, progress: Callable[[int], None] = lambda _steps: None) -> None:
        make_teacher(
            spec,
            evaluation_spec(),
            where,
            progress=Progress(progress, interval_seconds=-1.0),
            checkpoints=checkpoints,
            execution=Execution(gradient_accumulation=2),
            ranks=ranks,
        )

    def interrupt(step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        make(TEACHERS[0], interrupt)
    make(TEACHERS[0], steps.append)
    make(TEACHERS[1])
    found = [where.teachers / spec.teacher_id for spec in TEACHERS] if ranks.rank == 0 else []
    return {
        "steps": steps,
        "weights": [_vector(load_model(one, dtype=torch.float64)) for one in found],
        "facts": [read_facts(one, "teacher.json") for one in found],
        "left": sorted(path.name for path in root.iterdir()),
    }


if __name__ == "__main__":
    rank, world_size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world_size)
    results = {"shared": outcome(Ranks.current()), "own": outcome(GateOfItsOwn(rank, world_size), MEMBERS[:1])}
    in_parts = Execution(gradient_accumulation=2, activation_checkpointing=True)
    results["in_parts"] = outcome(Ranks.current(), MEMBERS[:2], execution=in_parts)
    results["resumed"] = resumed(Ranks.current(), folder / "checkpoints")
    results["teachers"] = teachers(Ranks.current(), folder / "made")
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(results))
    dist.destroy_process_group()

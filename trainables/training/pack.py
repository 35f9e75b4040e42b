"""A pack: members that share a teacher and train side by side; the teacher runs once per batch for all of one seed.

Works without Ray: `run_pack` is called by ray_train.py in every rank of a worker group, or directly.
"""

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from storage import set_aside
from trainables.arithmetic import matrix_products
from trainables.data import Dataset, load_data
from trainables.evaluation.evaluator import Evaluation, Evaluator, Sampled
from trainables.folders import Folders
from trainables.fused.graphs import NUM_STREAMS
from trainables.fused.stacked_kernels import members_at_once
from trainables.losses.features import Shapes
from trainables.models.digest import weights_digest
from trainables.models.own_code import require_members_code
from trainables.models.saved import PackSpeed, TrainedStudent, load_student, save_student
from trainables.models.students import initial_student
from trainables.models.teachers import load_teacher
from trainables.ranks import Ranks
from trainables.specs import Member, content_id
from trainables.training.checkpoints import Checkpoints
from trainables.training.early_stopping import Measure, judge
from trainables.training.execution import BY_DEFAULT, Execution
from trainables.training.failures import blamed_on
from trainables.training.loop import train_members
from trainables.training.memory import (
    DeviceMemory,
    device_memory,
    members_that_fit,
    peak_memory_mb,
    reset_peak_memory,
)
from trainables.training.out_of_memory import train_in_parts
from trainables.training.recorded_features import teacher_features
from trainables.training.trainee import Trainee
from trainables.training.watch import Watch


@dataclass(frozen=True)
class MemberResult:
    """What a finished member gives to the record sink."""

    member: Member
    trained: TrainedStudent
    evaluation: Evaluation | None  # None when the member diverged
    eval_seconds: float
    peak_memory_mb: float
    world_size: int
    device: str
    fused: bool = False  # trained as one program with its pack


class Sink(Protocol):
    """Takes finished members; the orchestration hands one in, so that the engine knows nothing of records."""

    def __call__(self, result: MemberResult) -> None: ...


@dataclass
class Progress:
    """Reports how far the pack is, at most once a second: `report` is given the number of steps taken so far."""

    report: Callable[[int], None] = lambda _steps: None
    interval_seconds: float = 1.0
    _last: float = field(default=0.0, init=False)

    def __call__(self, steps: int) -> None:
        now = time.monotonic()
        if now - self._last >= self.interval_seconds:
            self._last = now
            self.report(steps)


def run_pack(
    members: Sequence[Member],
    folders: Folders,
    sink: Sink,
    *,
    device: str = "cpu",
    ranks: Ranks | None = None,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
    execution: Execution = BY_DEFAULT,
    finished: Callable[[], Container[str]] | None = None,
    memory_of: Callable[[torch.device], DeviceMemory | None] = device_memory,
) -> None:
    """Trains the members side by side, evaluates each, and gives every finished one to the sink.

    Members must share their teacher, data and budget. A student that folders.students already holds is evaluated and
    not trained again, unless it is damaged: then it is set aside. Training goes on from the newest of the checkpoints,
    which are removed at the end. A pack that does not fit the memory is trained in parts; where memory_of(device) gives
    what a device says of its memory, a step of one member is measured first. In a group of ranks every rank trains its
    share of each batch, and evaluates every world_size-th member.

    finished: the run_ids that the sink has got, from whatever process. Those that it has at the start are left out; and
    at the end a rank waits for the members of the others by it, for as long as their evaluation takes: a collective
    would give up after half an hour. Without it ranks wait in a collective.

    Raises ValueError when the members do not belong in one pack, MemberError when one of them fails.
    """
    check_pack(members)
    require_members_code(members)
    ranks = ranks or Ranks.current()
    known = finished() if finished is not None else ()
    members = [member for member in members if member.run_id not in known]
    if not members:
        return
    torch_device = torch.device(device)
    reset_peak_memory(torch_device)
    data = load_data(members[0].data)
    evaluator = Evaluator(members[0].evaluation, members[0].data, members[0].process, folders.reference, torch_device)
    teacher_spec = members[0].guide
    teacher = (
        load_teacher(folders.teachers / teacher_spec.teacher_id, members[0], torch_device) if teacher_spec else None
    )

    where: dict[str, Any] = {"initial": folders.initial, "device": torch_device, "ranks": ranks, "execution": execution}
    train = partial(
        train_pack,
        teacher=teacher,
        data=data,
        progress=progress or Progress(),
        measure=partial(_measure_fid, evaluator),
        checkpoints=checkpoints,
        watch=watch,
        **where,
    )
    memory = memory_of(torch_device)
    measured = partial(num_that_fit, memory=memory, teacher=teacher, data=data, **where) if memory else None
    if ranks.rank == 0:
        for member in members:
            _set_aside_if_damaged(folders.students / member.train_id)
    ranks.wait()
    trained: dict[str, TrainedStudent | None] = {}
    for member in members:
        with blamed_on(member):
            trained[member.train_id] = load_student(folders.students / member.train_id)
    missing = [member for member in members if trained[member.train_id] is None]
    for outcome in train_in_parts(missing, train, ranks, checkpoints, measured):
        trained[outcome.train_id] = outcome
        if ranks.rank == 0 and outcome.model is not None:
            save_student(outcome, folders.students / outcome.train_id, members[0].process)
    mine = members[ranks.rank :: ranks.world_size]
    asked = _asked_seconds(evaluator, teacher, [trained[member.train_id] for member in mine])
    fused = execution.fuses(torch_device, ranks.world_size)
    for some in _sampled_as_one([(member, trained[member.train_id]) for member in mine], fused, evaluator.num_together):
        drawn, seconds = _drawn(some, evaluator, torch_device)
        for member, student in some:
            with blamed_on(member):
                result = _evaluated(
                    member,
                    student,
                    evaluator,
                    teacher,
                    sampled=drawn.pop(0) if drawn else None,
                    device=torch_device,
                    ranks=ranks,
                )
                spent = seconds + (asked if student.model else 0.0)
                sink(replace(result, eval_seconds=result.eval_seconds + spent))
    _wait_for_all(members, ranks, finished)
    if checkpoints is not None:
        checkpoints.remove()


def _wait_for_all(
    members: Sequence[Member], ranks: Ranks, finished: Callable[[], Container[str]] | None, seconds: float = 1.0
) -> None:
    """Until every member of the pack is finished. A rank that fails ends the whole group, and so this, too."""
    if finished is None:
        ranks.wait()
        return
    while ranks.world_size > 1:
        known = finished()
        if all(member.run_id in known for member in members):
            return
        time.sleep(seconds)


def _set_aside_if_damaged(student: Path) -> None:
    try:
        load_student(student)
    except Exception as error:  # broken JSON and weights fail to load in whatever way
        set_aside(student, student.parent.parent, str(error))


def _asked_seconds(evaluator: Evaluator, teacher: nn.Module | None, students: Sequence[TrainedStudent | None]) -> float:
    """Asks the teacher what students are compared with; the seconds of it for each of those that are evaluated."""
    num_evaluated = sum(student is not None and student.model is not None for student in students)
    if teacher is None or not num_evaluated:
        return 0.0
    started = time.perf_counter()
    evaluator.ask(teacher)
    return (time.perf_counter() - started) / num_evaluated


def _sampled_as_one(
    students: Sequence[tuple[Member, TrainedStudent | None]], fused: bool, most: int
) -> list[list[tuple[Member, TrainedStudent]]]:
    """The students in groups that sample as one model: where packs are fused those of one architecture that were
    trained so, at most so many; else each alone.
    """
    groups: list[list[tuple[Member, TrainedStudent]]] = []
    open_groups: dict[str, list[tuple[Member, TrainedStudent]]] = {}
    for member, student in students:
        assert student is not None
        group = [(member, student)]
        if not (fused and student.fused and student.model is not None):
            groups.append(group)
            continue
        kind = content_id(member.student.identity())
        if len(open_groups.get(kind, [])) in (0, most):
            groups.append(group)
            open_groups[kind] = group
        else:
            open_groups[kind] += group
    return groups


def _drawn(
    students: Sequence[tuple[Member, TrainedStudent]], evaluator: Evaluator, device: torch.device
) -> tuple[list[list[Sampled]], float]:
    """What each of several students sampled, and the seconds of it for each; of one alone nothing yet."""
    if len(students) == 1:
        return [], 0.0
    started = time.perf_counter()
    models = [student.model.to(device) for _, student in students if student.model is not None]
    drawn = evaluator.sample(models)
    return drawn, (time.perf_counter() - started) / len(students)


def _evaluated(
    member: Member,
    student: TrainedStudent,
    evaluator: Evaluator,
    teacher: nn.Module | None,
    *,
    sampled: Sequence[Sampled] | None,
    device: torch.device,
    ranks: Ranks,
) -> MemberResult:
    started = time.perf_counter()
    evaluation = None
    if student.model is not None:
        place_group_size = member.method.group_size if member.method.output == "lift_place" else None
        model = student.model.to(device)
        evaluation = evaluator(model, teacher, place_group_size=place_group_size, sampled=sampled)
    return MemberResult(
        member=member,
        trained=student,
        evaluation=evaluation,
        eval_seconds=time.perf_counter() - started,
        peak_memory_mb=peak_memory_mb(device),
        world_size=ranks.world_size,
        device=device_name(device),
        fused=student.fused,
    )


def train_pack(
    members: Sequence[Member],
    teacher: nn.Module | None,
    data: Dataset,
    *,
    initial: Path,
    device: torch.device,
    ranks: Ranks,
    progress: Progress,
    measure: Measure | None = None,
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
    execution: Execution = BY_DEFAULT,
) -> list[TrainedStudent]:
    """Trains all members over the whole budget; one result a member, diverged or not, in the order of the members.

    measure: the FID of a student on the way, for members that have rungs; without it no member is stopped early.
    checkpoints: where training goes on, and where its state is kept.
    """
    features, shapes = teacher_features(members, teacher, data.shape)
    make_trainee = partial(
        _trainee, data=data, shapes=shapes, initial=initial, device=device, ranks=ranks, execution=execution
    )
    trainees = [make_trainee(member) for member in members]
    watch, judged = watch or Watch(), 0.0

    def timed_judge(trainees: Sequence[Trainee], steps: int) -> Mapping[str, float]:
        nonlocal judged
        started = time.perf_counter()
        found = {} if measure is None else judge(trainees, steps, measure=measure, ranks=ranks)
        judged += time.perf_counter() - started
        return found

    with matrix_products(members[0].train.matmul):
        seconds = train_members(
            trainees,
            teacher,
            features,
            data,
            device=device,
            ranks=ranks,
            progress=progress,
            checkpoints=checkpoints,
            watch=watch,
            judge=timed_judge,
            execution=execution,
        )
    batch_size = members[0].train.batch_size // ranks.world_size
    num_passes = watch.num_passes if teacher is not None else 0
    speed = PackSpeed(num_passes * batch_size, watch.num_member_steps * batch_size, watch.seconds - judged)
    return [trained_student(trainee, seconds[trainee.member.train_id], speed) for trainee in trainees]


def num_that_fit(
    members: Sequence[Member],
    memory: DeviceMemory,
    teacher: nn.Module | None,
    data: Dataset,
    *,
    initial: Path,
    device: torch.device,
    ranks: Ranks,
    execution: Execution,
) -> int:
    """How many of the members fit the memory at once, as the first step of one of them shows."""
    features, shapes = teacher_features(members, teacher, data.shape)
    make_trainee = partial(
        _trainee, data=data, shapes=shapes, initial=initial, device=device, ranks=ranks, execution=execution
    )
    train = partial(
        train_members,
        teacher=teacher,
        teacher_features=features,
        data=data,
        device=device,
        ranks=ranks,
        progress=lambda _steps: None,
        execution=execution,
    )
    together = None
    if execution.fuses(device, ranks.world_size):
        batch = torch.empty((members[0].train.batch_size, *data.shape.image), device="meta")
        together = NUM_STREAMS * members_at_once(batch)
    with matrix_products(members[0].train.matmul):
        return members_that_fit(
            members, teacher, memory, make_trainee, train, together=together, device=device, ranks=ranks
        )


def _trainee(
    member: Member,
    *,
    data: Dataset,
    shapes: Mapping[str, Shapes],
    initial: Path,
    device: torch.device,
    ranks: Ranks,
    execution: Execution,
) -> Trainee:
    with blamed_on(member):
        new_student = partial(initial_student, member.student, data.shape, initial, seed=member.seed)
        return Trainee(
            member, new_student, data.shape, teacher_features=shapes, device=device, ranks=ranks, execution=execution
        )


def trained_student(trainee: Trainee, train_seconds: float, speed: PackSpeed | None = None) -> TrainedStudent:
    """The outcome of a trainee whose training has ended. train_seconds: its share of the pack's wall time."""
    model = trainee.ema_student() if trainee.diverged_at_step is None else None
    return TrainedStudent(
        trainee.member.train_id,
        model,
        None if model is None else weights_digest(model),
        trainee.curve,
        train_seconds,
        trainee.diverged_at_step,
        trainee.stopped_at_step,
        speed,
        trainee.fused,
    )


def _measure_fid(evaluator: Evaluator, model: nn.Module, num_images: int) -> float:
    return evaluator.with_num_images(num_images)(model).metrics["fid"]


def check_pack(members: Sequence[Member]) -> None:
    """Raises ValueError unless the members share what a pack shares."""
    if not members:
        raise ValueError("a pack must have at least one member")
    shared = {
        (
            member.guide.teacher_id if member.guide else None,
            member.data,
            member.process,
            *(member.train.steps, member.train.batch_size, member.train.timesteps),
            *(member.train.precision, member.train.matmul),
            *(member.train.condition_dropout, member.train.inputs, member.train.pool_batches, member.train.pool_steps),
        )
        for member in members
    }
    if len(shared) > 1 or len({member.evaluation for member in members}) > 1:
        raise ValueError(
            "members of a pack must share teacher, data, training budget, precision and evaluation protocol"
        )
    if len({member.train_id for member in members}) < len(members):
        raise ValueError("members of a pack must differ in what is trained")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

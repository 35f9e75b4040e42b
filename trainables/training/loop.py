"""The training loop of a pack.

batch per seed stream -> teacher once -> every member's loss -> backward -> clip, step, EMA per member.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import groupby

import torch
from torch import nn

from trainables.arithmetic import narrowed
from trainables.data import Dataset
from trainables.data.prefetch import Prefetched
from trainables.data.streams import Batch, SeedStream, Stream
from trainables.data.trajectories import TrajectoryStream
from trainables.families import predict
from trainables.fused.graphs import Graphed
from trainables.ranks import Ranks
from trainables.specs import Member, content_id
from trainables.training.checkpoints import Checkpoints
from trainables.training.execution import BY_DEFAULT, Execution
from trainables.training.moments import Shares, moment
from trainables.training.saving import Saving
from trainables.training.stack import Stack
from trainables.training.trainee import Trainee
from trainables.training.units import Alone, Unit
from trainables.training.watch import Watch

CURVE_POINTS = 50


def train_members(
    trainees: Sequence[Trainee],
    teacher: nn.Module | None,
    teacher_features: MutableMapping[str, torch.Tensor],
    data: Dataset,
    *,
    device: torch.device,
    ranks: Ranks,
    progress: Callable[[int], None],
    judge: Callable[[Sequence[Trainee], int], Mapping[str, float]] = lambda _trainees, _steps: {},
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
    execution: Execution = BY_DEFAULT,
) -> dict[str, float]:
    """Trains the trainees in place over the whole budget; returns each one's share of the wall seconds, by train_id.

    With checkpoints, training goes on where the newest one was written, as if it had never been interrupted.

    teacher_features: the mapping that `record_features` fills at every pass of the teacher. A trainee whose loss or
    gradient is not finite is frozen at that step; the others are not touched by it. judge(trainees, steps) is called
    after every step, may stop trainees, and returns the seconds that it took of each. A trainee's share is the time of
    its own work and an equal part of its stream's teacher passes.
    """
    train = trainees[0].member.train
    dtype = getattr(torch, train.precision)
    with ExitStack() as opened:
        ahead = partial(_ahead, opened, execution.batches_ahead(device), train.steps, device)
        streams = _streams(trainees, teacher, data, ahead, ranks=ranks, device=device, dtype=dtype)
        fused = execution.fuses(device, ranks.world_size)
        units = {stream.seed: _units(members, fused) for stream, members in streams}
        ask = partial(_teacher_pass, teacher, trainees[0].member, teacher_features)
        answers: Graphed[torch.Tensor | None] = Graphed(off=not fused)
        first_step, seconds = 0, {trainee.member.train_id: 0.0 for trainee in trainees}
        saving: Saving | None = None
        if checkpoints is not None:
            drawn = [stream for stream, _ in streams]
            first_step, seconds = checkpoints.restore(trainees, drawn, ranks)
            saving = opened.enter_context(Saving(checkpoints, trainees, drawn, ranks, first_step))
        shares = Shares(seconds, partial(moment, device))
        log_every = max(1, train.steps // CURVE_POINTS)
        watch = watch or Watch()
        watch.begin()
        for step in range(first_step, train.steps):
            log = step % log_every == 0 or step == train.steps - 1
            pending: list[tuple[Trainee, torch.Tensor]] = []
            for stream, members in streams:
                active = [trainee for trainee in members if trainee.active]
                if not active:
                    continue
                with shares.of(*(trainee.member.train_id for trainee in active)):
                    batch = stream.batch(step).to(device, dtype)
                    wanted = any(trainee.member.method.needs_teacher for trainee in active)
                    with watch.teacher_pass(device):
                        output = answers(ask, batch) if wanted else None
                    if output is not None:
                        stream.took(batch, output, step)
                for unit in units[stream.seed]:
                    with shares.of(*(trainee.member.train_id for trainee in unit.active)):
                        pending += unit.backward(batch, output, teacher_features, step, log=log)
            if not pending:
                break
            with shares.of(*(trainee.member.train_id for trainee, _ in pending)):
                _update(pending, [unit for some in units.values() for unit in some], step, ranks)
            shares.settle()
            for train_id, spent in judge([trainee for trainee, _ in pending], step + 1).items():
                seconds[train_id] += spent
            progress(step + 1)
            watch.took_step([trainee for trainee, _ in pending])
            if saving is not None and step + 1 < train.steps:
                saving.after(step + 1, seconds)
        if saving is not None:
            saving.finish()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        shares.settle()
        watch.look(trainees)
        return seconds


def _streams(
    trainees: Sequence[Trainee],
    teacher: nn.Module | None,
    data: Dataset,
    ahead: Callable[[SeedStream], Stream],
    *,
    ranks: Ranks,
    device: torch.device,
    dtype: torch.dtype,
) -> list[tuple[Stream, list[Trainee]]]:
    """A stream for every seed, with its trainees."""
    member = trainees[0].member
    train, process = member.train, member.process

    def stream(seed: int) -> Stream:
        if train.inputs == "data_free" and teacher is not None:
            return TrajectoryStream(
                data,
                process,
                partial(_answer, teacher, train.matmul),
                seed=seed,
                batch_size=train.batch_size,
                ranks=ranks,
                device=device,
                dtype=dtype,
                pool_batches=train.pool_batches,
                num_steps=train.pool_steps,
            )
        drawn = SeedStream(
            data,
            process,
            seed=seed,
            batch_size=train.batch_size,
            ranks=ranks,
            timesteps=train.timesteps,
            condition_dropout=train.condition_dropout,
            random_conditioning=train.inputs == "random_conditioning",
        )
        return ahead(drawn)

    by_seed = groupby(sorted(trainees, key=_seed), key=_seed)
    return [(stream(seed), list(group)) for seed, group in by_seed]


def _ahead(opened: ExitStack, num_batches: int, num_steps: int, device: torch.device, stream: SeedStream) -> Stream:
    """The stream, or one that draws so many batches ahead until `opened` closes."""
    if not num_batches:
        return stream
    pin = device.type == "cuda"
    return opened.enter_context(closing(Prefetched(stream, num_steps=num_steps, ahead=num_batches, pin=pin)))


def _seed(trainee: Trainee) -> int:
    return trainee.member.seed


def _units(trainees: Sequence[Trainee], fused: bool) -> list[Unit]:
    """The trainees of a stream as what runs at once: stacks of one architecture where packs are fused, else each alone.

    A student with dropout is alone, which would draw other numbers, and so is one whose model or loss is a user's code.
    """
    units: list[Unit] = []
    stacked: dict[str, list[Trainee]] = {}
    for trainee in trainees:
        if fused and trainee.can_be_stacked:
            stacked.setdefault(content_id(trainee.member.student.identity()), []).append(trainee)
        else:
            units.append(Alone(trainee))
    return [*units, *(Stack(some) for some in stacked.values())]


def _teacher_pass(
    teacher: nn.Module | None, member: Member, features: MutableMapping[str, torch.Tensor], batch: Batch
) -> torch.Tensor | None:
    """What the teacher says, and its features, both as wide as the batch."""
    if teacher is None:
        return None
    said = _answer(teacher, member.train.matmul, batch.x_t, member.process.model_time(batch.t), batch.condition)
    for name, feature in features.items():
        features[name] = feature.to(said.dtype)
    return said


def _answer(
    teacher: nn.Module, matmul: str, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """What the teacher says: (B, C, H, W), or (B, 2C, H, W) with the variance that it learned."""
    with torch.no_grad(), narrowed(matmul, x_t.device):
        return predict(teacher, x_t, time, condition).to(x_t.dtype)


def _update(pending: Sequence[tuple[Trainee, torch.Tensor]], units: Sequence[Unit], step: int, ranks: Ranks) -> None:
    """Steps every trainee whose check is finite on all ranks, and freezes the others for good; one transfer from the
    device for the whole pack.
    """
    checks = ranks.mean(torch.stack([check.to(torch.float64) for _, check in pending]))
    for (trainee, _), finite in zip(pending, checks.isfinite().tolist(), strict=True):
        if not finite:
            trainee.diverge(step)
    for unit in units:
        unit.update(step)

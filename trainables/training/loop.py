"""The training loop of a pack.

batch per seed stream -> teacher once -> every member's loss -> backward -> clip, step, EMA per member.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import groupby

import torch
from torch import nn

from trainables.data import Dataset
from trainables.data.prefetch import Prefetched
from trainables.data.streams import Batch, SeedStream, Stream
from trainables.data.trajectories import TrajectoryStream
from trainables.families import predict
from trainables.ranks import Ranks
from trainables.training.checkpoints import Checkpoints
from trainables.training.execution import BY_DEFAULT, Execution
from trainables.training.failures import blamed_on
from trainables.training.moments import Shares, moment
from trainables.training.saving import Saving
from trainables.training.trainee import Trainee
from trainables.training.watch import Watch

CURVE_POINTS = 50


def train_members(
    trainees: Sequence[Trainee],
    teacher: nn.Module | None,
    teacher_features: Mapping[str, torch.Tensor],
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
                    with watch.teacher_pass(device):
                        output = _teacher_pass(teacher, batch, active)
                    if output is not None:
                        stream.took(batch, output, step)
                for trainee in active:
                    wanted = output if trainee.member.method.needs_teacher else None
                    with shares.of(trainee.member.train_id), blamed_on(trainee.member):
                        check = trainee.backward(batch, wanted, teacher_features, step, log=log)
                    pending.append((trainee, check))
            if not pending:
                break
            with shares.of(*(trainee.member.train_id for trainee, _ in pending)):
                _update(pending, step, ranks)
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
                partial(_answer, teacher),
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


def _teacher_pass(teacher: nn.Module | None, batch: Batch, active: Sequence[Trainee]) -> torch.Tensor | None:
    if teacher is None or not any(trainee.member.method.needs_teacher for trainee in active):
        return None
    return _answer(teacher, batch.x_t, active[0].member.process.model_time(batch.t), batch.condition)


def _answer(
    teacher: nn.Module, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """What the teacher says: (B, C, H, W), or (B, 2C, H, W) with the variance that it learned."""
    with torch.no_grad():
        return predict(teacher, x_t, time, condition)


def _update(pending: Sequence[tuple[Trainee, torch.Tensor]], step: int, ranks: Ranks) -> None:
    """Steps every trainee whose check is finite on all ranks; one transfer from the device for the whole pack."""
    checks = ranks.mean(torch.stack([check.to(torch.float64) for _, check in pending]))
    for (trainee, _), finite in zip(pending, checks.isfinite().tolist(), strict=True):
        trainee.update(step, finite=finite)

"""The memory of a device: the most that a pack took, and how many of its members fit by what a step of one takes."""

import math
import resource
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from trainables.evaluation.halving import free_memory
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training.trainee import Trainee

USABLE = 0.9  # of the memory: the rest is lost between blocks of the allocator
_PEAKS = Path("/proc/self/clear_refs")  # Linux: 5 sets the peak to what is resident now
_RESET_PEAK = "5"
_STATUS = Path("/proc/self/status")


def reset_peak_memory(device: torch.device) -> None:
    """The peak is counted from here on; without a GPU only where the system lets a process do that.

    `members_that_fit` does so too: before a pack trains, what it shares is there, and nothing else counts.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        _PEAKS.write_text(_RESET_PEAK)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MiB since it was reset: of the GPU where there is one, else of this process.

    Of a GPU all that torch took of it: CUDA graphs keep their memory without a tensor that counts as allocated.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    with suppress(OSError):  # getrusage also knows the peak of what ran before exec, which no reset touches
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of a worker: what a pack's members share (teacher and features), what each keeps, and the activations of
    one member, of a rank's whole share of a batch.
    """

    shared: int
    member: int
    activations: int

    def total(self, num_members: int, parts: int = 1, *, at_once: int = 1) -> int:
        """parts: what the share of a batch is cut into. at_once: members whose activations are there at a time."""
        return self.shared + at_once * self.activations // parts + num_members * self.member

    def most_members(self, memory_bytes: float, parts: int = 1) -> int:
        return int((memory_bytes - self.total(0, parts)) // self.member)


class DeviceMemory(Protocol):
    """What a device says of its memory, in bytes."""

    def allocated(self) -> int:
        """By tensors of this process, now."""

    def peak(self) -> int:
        """The most that they had since `reset_peak`."""

    def reset_peak(self) -> None: ...

    def free(self) -> int:
        """What this process may still take."""


@dataclass(frozen=True)
class GpuMemory:
    """Of a GPU, of which this process has a part."""

    device: torch.device
    part: float = 1.0

    def allocated(self) -> int:
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated(self.device)

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def free(self) -> int:
        """What nobody has taken and what this process keeps for reuse, but no more than its part of the whole."""
        free, total = torch.cuda.mem_get_info(self.device)
        kept = torch.cuda.memory_reserved(self.device) - self.allocated()
        return min(free + kept, int(self.part * total) - self.allocated())


def device_memory(device: torch.device, part: float = 1.0) -> GpuMemory | None:
    """None of a CPU: torch does not count there, and the resident size of a process keeps what was freed."""
    return GpuMemory(device, part) if device.type == "cuda" else None


def members_that_fit(
    members: Sequence[Member],
    teacher: nn.Module | None,
    memory: DeviceMemory,
    make_trainee: Callable[[Member], Trainee],
    train: Callable[..., object],
    *,
    together: int | None,
    device: torch.device,
    ranks: Ranks,
) -> int:
    """How many of the members fit the memory at once: at least one, and the same number in every rank.

    The member that takes most takes its first step alone, and what that takes is counted: weights, gradients, moments
    and EMA for every member, and activations once. The step is thrown away; the training begins anew.

    train(trainees, judge=...) is `train_members` with the rest of its arguments. together: the most members whose
    activations are there at a time, of each seed, where they run as one program (the teacher's then count beside them,
    for its CUDA graph keeps their memory); None: one after the other. Raises torch.OutOfMemoryError where a step of one
    member does not fit.
    """
    free_memory()
    before, free = memory.allocated(), memory.free()
    need, of_teacher = _of_first_step(make_trainee(max(members, key=_demand)), teacher, before, memory, train)
    free_memory()
    num_seeds = len({member.seed for member in members})

    def fits(number: int) -> bool:
        if together is None:
            return need.total(number) <= USABLE * free
        return of_teacher + need.total(number, at_once=min(number, together * num_seeds)) <= USABLE * free

    most = next((number for number in range(len(members), 1, -1) if fits(number)), 1)
    return int(ranks.gather(torch.tensor([most], device=device)).min())


def _demand(member: Member) -> tuple[bool, bool]:
    return member.method.feature != "none", member.method.needs_teacher


def _of_first_step(
    trainee: Trainee, teacher: nn.Module | None, before: int, memory: DeviceMemory, train: Callable[..., object]
) -> tuple[MemoryNeed, int]:
    """What a trainee takes by its first step, after which it leaves, and the teacher's pass in it. before: bytes that
    were allocated without the trainee.
    """
    made = memory.allocated() - before
    memory.reset_peak()
    seen: list[MemoryNeed] = []
    asked: list[int] = []

    def look(_trainees: Sequence[Trainee], steps: int) -> Mapping[str, float]:
        now, peak = memory.allocated() - before, memory.peak() - before
        member = made + sum(moment.nbytes for moment in trainee.moments().values())
        seen.append(MemoryNeed(shared=max(0, now - member), member=member, activations=peak - now))
        trainee.pass_rung(steps, math.nan, stop=True)
        return {}

    with ExitStack() as hooked:
        if teacher is not None:
            hooked.enter_context(teacher.register_forward_hook(lambda *_: asked.append(memory.peak())))
        train([trainee], judge=look)
    return seen[0], asked[0] - before - made if asked else 0

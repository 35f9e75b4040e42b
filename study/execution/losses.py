"""Processes that die again and again without getting any further: they are counted, and their cause is named.

A loss with progress may happen without limit, for machines are lost. Of losses without progress the second divides the
pack, the third leaves one member alone, and the fifth ends the sweep, which can then name that member.
Imports what is light alone, since drivers and controllers use it; the rest is imported at a loss.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_LOSSES = 5  # in a row, without progress
_MEMORY = ("low on memory", "OutOfMemory", "OUT_OF_MEMORY")
_GROUP = re.compile(r"NCCL|third_party/gloo|gloo::|ProcessGroup|torch\.distributed", re.IGNORECASE)
_NODE = re.compile(r"\bnode (has died|was terminated|has crashed|it was running on is dead)")
_MAX_TEXT = 300
_SAME_STEP = 0.1  # of the steps: they are told every few seconds only
KILLED = "its process ended without a word (SIGKILL, which the kernel sends where memory runs out, or an exit)"


@dataclass(frozen=True)
class Work:
    """A pack, or a teacher, by its names on the disk."""

    name: str  # pack_id or teacher_id: its folder of checkpoints
    run_ids: tuple[str, ...] = ()
    train_ids: tuple[str, ...] = ()


class LostError(RuntimeError):
    """A process died MOST_LOSSES times without progress; `name`: of its Work. The message is the cause."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(name, cause)
        self.name, self.cause = name, cause

    def __str__(self) -> str:
        return self.cause


class GroupLostError(RuntimeError):
    """A worker group ended because a process of it did, or its connections; the message is what the others say."""


class Losses:
    """Counts the losses of a process that does some work, one after the other."""

    def __init__(self, study_dir: Path, work: Sequence[Work]) -> None:
        self._study_dir, self._work = study_dir, tuple(work)
        self.number, self._kept, self._steps = 0, (-1, -1, -1), -1

    def seen(self) -> int:
        """To be called at each loss; returns how many there were in a row without progress, this one included.

        Progress is a row, a student or a newer checkpoint. Without any of them a loss is counted where it comes after
        about as many steps as the one before it, as what kills itself does and a machine that is lost does not.
        """
        kept, steps = self._look()
        if kept > self._kept:
            self.number, self._steps = 1, steps
        elif abs(steps - self._steps) <= max(1, _SAME_STEP * self._steps):
            self.number += 1
        self._kept, self._steps = max(kept, self._kept), steps
        return self.number

    def current(self) -> Work:
        """The first that is not done."""
        finished = _finished(self._study_dir)
        left = [one for one in self._work if not one.run_ids or not finished.issuperset(one.run_ids)]
        return (left or self._work)[0]

    def cause(self, errors: Sequence[BaseException]) -> str:
        """In a sentence, why the process ended."""
        from study.directory.layout import checkpoints_dir

        return cause_of(errors, crash(checkpoints_dir(self._study_dir) / self.current().name))

    def divide(self) -> None:
        """Has what is done now trained in halves next time, and from the third loss on member by member."""
        from study.directory.layout import checkpoints_dir
        from trainables.training.checkpoints import Checkpoints

        work = self.current()
        if len(work.run_ids) < 2:
            return
        most = 1 if self.number > 2 else -(-len(work.run_ids) // 2)
        notes = Checkpoints(checkpoints_dir(self._study_dir) / work.name, None)
        with suppress(OSError):  # a study directory that is away: the loss is counted all the same
            notes.note_most_members(min(most, notes.most_members() or most))

    def _look(self) -> tuple[tuple[int, int, int], int]:
        """Rows, students and the newest checkpoint's steps; and the steps that were reached."""
        from study.directory.layout import checkpoints_dir, folders
        from study.watching.progress import read_steps
        from trainables.training.checkpoints import newest_steps

        finished, students = _finished(self._study_dir), folders(self._study_dir).students
        rows = sum(run_id in finished for one in self._work for run_id in one.run_ids)
        trained = sum((students / train_id).exists() for one in self._work for train_id in one.train_ids)
        folder = checkpoints_dir(self._study_dir) / self.current().name
        return (rows, trained, newest_steps(folder)), read_steps(folder)


def _finished(study_dir: Path) -> set[str]:
    from analysis.records.rows import finished_run_ids

    return finished_run_ids(study_dir)


def lost(
    event: str, losses: Losses, errors: Sequence[BaseException], log: Callable[..., None], **facts: object
) -> None:
    """Counts and logs a loss, and divides a pack that does not get on. Raises LostError where it is the last."""
    number, cause = losses.seen(), losses.cause(errors)
    name = losses.current().name
    log(event, **facts, pack_id=name, cause=cause, without_progress=number, errors=[str(error) for error in errors])
    if number >= MOST_LOSSES:
        raise LostError(name, cause)
    if number > 1:
        losses.divide()


def cause_of(errors: Sequence[BaseException], crash: str | None = None) -> str:
    """Why a process ended, from what Ray, or the other ranks, say of it, and from what it wrote as it crashed."""
    texts = [str(error) for error in errors]
    if any(word in text for text in texts for word in _MEMORY):
        return "Ray's memory monitor killed its process: the node ran low on memory"
    if crash is not None:
        return f"its process crashed: {crash}"
    for text in texts:
        lines = [line.strip() for line in text.splitlines() if _GROUP.search(line)]
        if lines:
            return lines[-1][:_MAX_TEXT]
    if any(map(_NODE.search, texts)):
        return "its node is gone"
    return KILLED


def crash(folder: Path) -> str | None:
    """What a rank wrote of the signal that ended it (trainables.training.failures.crashes_told); it is said once."""
    from storage import is_local

    found = None
    for path in sorted(folder.glob("crash-*.txt")) if is_local(folder) else ():
        with suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
            path.unlink(missing_ok=True)
            found = found or next((line for line in lines if line.startswith("Fatal")), None)
    return found and found.removeprefix("Fatal Python error: ")

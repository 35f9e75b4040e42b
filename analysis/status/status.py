"""How a study stands, as plain values, and as text for a terminal. study/watching/find_status.py finds it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from analysis.terminal import columns

RUNNING, FINISHED, STOPPED = "running", "finished", "stopped"


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """The members of one method on one teacher (None: the method needs none)."""

    teacher: str | None
    method: str
    planned: int
    ok: int = 0
    collapsed: int = 0
    diverged: int = 0
    running: int = 0
    fids: tuple[float, ...] = ()

    @property
    def waiting(self) -> int:
        return self.planned - self.ok - self.collapsed - self.diverged - self.running


@dataclass(frozen=True, kw_only=True)
class PackStatus:
    """Members that train side by side, or will. `steps`: at the newest checkpoint; None: it was not begun."""

    teacher: str | None
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    num_members: int
    num_steps: int
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class TeacherStatus:
    """A teacher that exists, is trained (steps taken so far) or waits."""

    name: str
    state: str  # made, training, waiting
    steps: int
    num_steps: int


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something that went wrong, or came out badly; run_id where it was one member."""

    text: str
    run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """The state of a study at one moment."""

    study: str
    study_dir: str
    state: str  # RUNNING, FINISHED or STOPPED
    sweep: str  # what runs it, or why nothing does
    seen_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    planned: int  # members; of a search those that are still to be suggested too
    finished: int
    not_planned: int  # rows of other plans in the same records
    teachers: Sequence[TeacherStatus]
    cells: Sequence[CellStatus]
    running: Sequence[PackStatus]
    waiting: Sequence[PackStatus]  # in the order of the plan
    failures: Sequence[Remark]  # exceptions and lost machines of this sweep, newest first
    bad: Sequence[Remark]  # members that collapsed or diverged
    member_steps_per_second: float | None  # of this sweep, of finished members and checkpoints
    device_seconds: float  # of finished members, and of making what they start from
    device_seconds_left: float | None  # estimated; None: nothing is known to estimate from
    seconds_left: float | None

    @property
    def count(self) -> dict[str, int]:
        """Members by what became of them."""
        names = ("ok", "collapsed", "diverged", "running")
        found = {name: sum(getattr(cell, name) for cell in self.cells) for name in names}
        return {**found, "waiting": max(0, self.planned - self.finished - found["running"])}


def facts(status: StudyStatus) -> list[tuple[str, str]]:
    """The figures of the head of the page, in words."""
    count = status.count
    bad = f"{count['collapsed']} collapsed, {count['diverged']} diverged"
    left = "not known before a member is finished"
    if status.device_seconds_left is not None:
        left = "nothing" if status.state == FINISHED else f"about {duration(status.device_seconds_left)} of devices"
        if status.seconds_left is not None:
            left += f", {duration(status.seconds_left)} from now"
    rate = status.member_steps_per_second
    return [
        ("members", f"{status.finished} of {status.planned} finished ({bad})"),
        ("now", f"{count['running']} running, {count['waiting']} waiting"),
        ("teachers", _teachers(status.teachers)),
        (
            "speed",
            "not known yet"
            if rate is None
            else f"{rate:,.1f} member-steps a second{'' if status.state == RUNNING else ' of a device'}",
        ),
        ("spent", f"{duration(status.device_seconds)} of devices"),
        ("left", left),
    ]


def terminal_status(status: StudyStatus) -> str:
    """The status as lines of text; what would steer the terminal is written out."""
    return "\n".join(printable(line) for line in _lines(status))


def printable(line: str) -> str:
    """The line with everything that would steer a terminal written out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def _lines(status: StudyStatus) -> Iterator[str]:
    yield f"study {status.study} in {status.study_dir}: {status.state} ({status.sweep})"
    width, done = 40, status.finished / max(1, status.planned)
    yield f"[{'#' * int(width * done):<{width}}] {100 * done:.0f}%"
    yield from (f"{name:<9} {text}" for name, text in facts(status))
    if status.not_planned:
        yield f"{'besides':<9} {status.not_planned} finished members of other plans"
    yield ""
    header = ("teacher", "method", "plan", "ok", "coll.", "div.", "run", "wait", "FID")
    yield from columns([header, *(tuple(map(str, cell_row(cell))) for cell in status.cells)], right=range(2, 9))
    for title, packs in (("running", status.running), ("next", status.waiting[:3])):
        if packs:
            yield from ("", f"{title}:", *(f"  {describe_pack(pack)}" for pack in packs))
    for title, remarks in (("trouble of this sweep", status.failures), ("came out badly", status.bad)):
        if remarks:
            yield from ("", f"{title}:", *(f"  {one.run_id or '':<16}  {one.text}" for one in remarks[:10]))
            if len(remarks) > 10:
                yield f"  and {len(remarks) - 10} more"


def cell_row(cell: CellStatus) -> tuple[str | int, ...]:
    """What a table says of a cell: teacher, method, counts, and the mean FID with the spread."""
    counts = (cell.planned, cell.ok, cell.collapsed, cell.diverged, cell.running, cell.waiting)
    return (cell.teacher or "none", cell.method, *counts, _fid(cell.fids))


def describe_pack(pack: PackStatus) -> str:
    seeds = ", ".join(map(str, pack.seeds))
    methods = ", ".join(pack.methods)
    number = f"{pack.num_members} member{'' if pack.num_members == 1 else 's'}"
    text = f"{number} of {pack.teacher or 'no teacher'}, seed {seeds}: {methods}"
    if pack.steps is None:
        return text
    return f"{text} (step {pack.steps} of {pack.num_steps} saved)" if pack.steps else f"{text} (begun)"


def duration(seconds: float) -> str:
    """E.g. 12 s, 3 min, 2 h 05 min, 3 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _teachers(teachers: Sequence[TeacherStatus]) -> str:
    made = sum(one.state == "made" for one in teachers)
    making = [f"{one.name} at step {one.steps} of {one.num_steps}" for one in teachers if one.state == "training"]
    return f"{made} of {len(teachers)} made" + (f"; training: {', '.join(making)}" if making else "")


def _fid(fids: Sequence[float]) -> str:
    if not fids:
        return "-"
    mean = sum(fids) / len(fids)
    if len(fids) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {(sum((fid - mean) ** 2 for fid in fids) / (len(fids) - 1)) ** 0.5:.1f}"

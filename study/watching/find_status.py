"""The status of a study, from its plan, records, lease, logs and progress files. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.records.cells import Kind, labels, teacher_labels
from analysis.records.rows import outcome
from analysis.status.status import (
    FINISHED,
    RUNNING,
    STOPPED,
    CellStatus,
    PackStatus,
    Remark,
    StudyStatus,
    TeacherStatus,
)
from study.config.study import StudyConfig
from study.costs.remaining import Expenses
from study.costs.spent import model_device_seconds
from study.directory.layout import folders
from study.directory.lease import holder
from study.planning.members import plan_members, plan_packs, plan_teachers
from study.planning.plan_file import read_plan
from study.watching.events import has_facts, read_events
from study.watching.progress import Progress
from study.watching.study_count import RUNNING as RUNS
from study.watching.study_count import WAITING, StudyCount
from study.watching.trouble import describe_trouble
from trainables.models.facts import find_teacher
from trainables.specs import Member


@dataclass(frozen=True)
class PlannedStudy:
    """A study as the last sweep planned it: its members by run_id, and how many a search has not suggested yet."""

    config: StudyConfig
    members: Mapping[str, Member]
    num_open: int


def planned_study(study_dir: Path, *, plugins: bool = False) -> PlannedStudy:
    """The study of a directory. plugins: whether code that its study.yaml names may be imported.

    Raises ValueError where there is none, or where it names code and that is not allowed.
    """
    config = read_plan(study_dir)
    if config is None:
        from study.config.parse import read_study_yaml  # builds models, for which it loads torch and diffusers

        config = read_study_yaml(study_dir, plugins=plugins)
    if config.tuning is None:
        members, num_open = plan_members(config), 0
    else:
        from study.search.replay import known_members  # loads what searches and their statistics take

        members, num_open = known_members(config)
    return PlannedStudy(config, {member.run_id: member for member in members}, num_open)


def find_status(study: PlannedStudy) -> StudyStatus:
    """How the study stands now. Raises ValueError when its records are damaged."""
    config, members = study.config, study.members
    sweep = _Sweep.find(config.study_dir)
    since = sweep.begun if sweep.lives else datetime.now(UTC)
    count = StudyCount(config.study_dir, since, config.report.collapse_fid)
    count.plan(members.values())
    count.refresh()
    rows, waiting = count.rows, count.in_state(WAITING)
    running = [pack for one in count.progress.values() if (pack := _running_pack(one, count))]
    teachers = _teachers(config, count)
    expenses = Expenses(config, rows, running, waiting, teachers, study.num_open)
    num_finished = len(set(members) & set(rows))
    is_finished = num_finished == len(members) and study.num_open == 0
    state = RUNNING if sweep.lives else FINISHED if is_finished else STOPPED
    since = sweep.started if sweep.lives else None
    return StudyStatus(
        study=config.study,
        study_dir=str(config.study_dir),
        state=state,
        sweep=sweep.describe,
        planned=len(members) + study.num_open,
        finished=num_finished,
        not_planned=len(set(rows) - set(members)),
        teachers=teachers,
        cells=_cells(config, count),
        running=running,
        waiting=[_waiting_pack(pack.members) for pack in plan_packs(waiting, config.max_members)],
        failures=sweep.failures,
        bad=_bad([row for run_id, row in rows.items() if run_id in members], config.report.collapse_fid),
        member_steps_per_second=expenses.member_steps_per_second(since),
        device_seconds=sum(row["device_seconds"] or 0.0 for row in rows.values())
        + model_device_seconds(config.study_dir),
        device_seconds_left=0.0 if is_finished else expenses.seconds_left(),
        seconds_left=expenses.wall_seconds_left(since) if sweep.lives else None,
    )


@dataclass(frozen=True)
class _Sweep:
    """The last sweep: whether it lives, in words and by its lease, and what its processes have logged."""

    lives: bool
    describe: str
    begun: datetime | None
    started: datetime | None  # its first pack: teachers are made before it
    failures: Sequence[Remark]

    @classmethod
    def find(cls, study_dir: Path) -> _Sweep:
        held = holder(study_dir)
        events = [event for event in read_events(study_dir) if has_facts(event)]
        starts = [index for index, event in enumerate(events) if event["event"] == "sweep_started"]
        events = events[starts[-1] :] if starts else []
        lives = held is not None and held.lives
        begun, started = _first_time(events, "sweep_started"), _first_time(events, "pack_started")
        failures = [remark for event in reversed(events) if (remark := _failure(event))]
        return cls(lives, held.describe if held else _how_it_ended(events), begun, started, failures)


def _first_time(events: Sequence[Mapping[str, Any]], name: str) -> datetime | None:
    times = [event["time"] for event in events if event["event"] == name]
    return datetime.fromisoformat(times[0]) if times else None


def _how_it_ended(events: Sequence[Mapping[str, Any]]) -> str:
    ends = [event for event in events if event["event"] == "sweep_ended"]
    if not ends:
        return "no sweep runs" if not events else "no sweep runs; the last one was killed"
    return f"no sweep runs; the last one ended at {ends[-1]['time'][:16].replace('T', ' ')} UTC: {ends[-1]['outcome']}"


def _failure(event: Mapping[str, Any]) -> Remark | None:
    """An exception or a lost machine, in a line."""
    text = describe_trouble(event)
    if text is None:
        return None
    return Remark(text=text, run_id=event["run_id"] if event["event"] == "member_failed" else None)


def _running_pack(progress: Progress, count: StudyCount) -> PackStatus | None:
    """A pack that runs, with the members that have no row yet; None for a teacher, and where all have one."""
    members = [count.members[run_id] for run_id in progress.run_ids if run_id in count.members]
    left = [member for member in members if count.state(member.run_id) == RUNS]
    return replace(_waiting_pack(left), steps=progress.steps) if left else None


def _waiting_pack(members: Sequence[Member]) -> PackStatus:
    first = members[0]
    return PackStatus(
        teacher=first.teacher.name if first.teacher else None,
        seeds=tuple(sorted({member.seed for member in members})),
        methods=tuple(sorted({member.method.name for member in members})),
        num_members=len(members),
        num_steps=first.train.steps,
    )


def _teachers(config: StudyConfig, count: StudyCount) -> list[TeacherStatus]:
    found = []
    for spec in plan_teachers(config):
        steps = count.steps_of(spec.teacher_id)
        made = find_teacher(spec, config.evaluation, folders(config.study_dir)) is not None
        state = "made" if made else "training" if steps else "waiting"
        found.append(TeacherStatus(name=spec.name, state=state, steps=steps, num_steps=spec.num_steps))
    return found


def _cells(config: StudyConfig, count: StudyCount) -> list[CellStatus]:
    """The cells of the report, with what is planned of each; all searched settings of a method are one."""
    members, groups = count.members, dict[tuple[str | None, str], list[str]]()
    teachers = teacher_labels(
        {one.teacher.teacher_id: (one.teacher.name, one.teacher.seed) for one in members.values() if one.teacher}
    )
    for (run_id, member), label in zip(members.items(), _labels(config, members, count.rows), strict=True):
        teacher = teachers[member.teacher.teacher_id] if member.teacher else None
        groups.setdefault((teacher, label), []).append(run_id)
    found = []
    for (teacher, label), run_ids in groups.items():
        own = [count.rows[run_id] for run_id in run_ids if run_id in count.rows]
        states = Counter(map(count.state, run_ids))
        found.append(
            CellStatus(
                teacher=teacher,
                method=label,
                planned=len(run_ids),
                ok=states["ok"],
                collapsed=states["collapsed"],
                diverged=states["diverged"],
                running=states[RUNS],
                fids=tuple(row["fid"] for row in own if row["fid"] is not None),
            )
        )
    return found


def _labels(config: StudyConfig, members: Mapping[str, Member], rows: Mapping[str, Any]) -> list[str]:
    """The label of every member's cell, as the report has it."""
    searched = set(config.tuning.search_seeds) if config.tuning else set()
    kept = [member for member in members.values() if member.seed not in searched]
    texts = labels([_kind(config, member, rows.get(member.run_id)) for member in kept])
    by_id = {member.run_id: text for member, text in zip(kept, texts, strict=True)}
    return [by_id.get(run_id, f"{member.method.name} (search)") for run_id, member in members.items()]


def _kind(config: StudyConfig, member: Member, row: Mapping[str, Any] | None) -> Kind:
    """Its cell's; a member without a row is of the grid where it has the settings of the recipe."""
    of_grid = config.tuning is None or (member.method in config.methods and member.train == config.train)
    phase = row["phase"] if row else "grid" if of_grid else "confirm"
    return Kind.of(phase, member.method.name, member.identity())


def _bad(rows: Sequence[Mapping[str, Any]], collapse_fid: float | None) -> list[Remark]:
    """The members that collapsed or diverged, newest first."""
    newest_first = sorted(rows, key=lambda row: row["finished_at"] or datetime.min.replace(tzinfo=UTC), reverse=True)
    found = []
    for row in newest_first:
        state = outcome(row["status"], row["fid"], collapse_fid)
        if state == "ok":
            continue
        what = f"FID {row['fid']:.1f}" if state == "collapsed" else "diverged"
        step = f" at step {row['diverged_at_step']}" if row["diverged_at_step"] is not None else ""
        text = f"{row['method']}, teacher {row['teacher'] or 'none'}, seed {row['seed']}: {what}{step}"
        found.append(Remark(text=text, run_id=row["run_id"]))
    return found

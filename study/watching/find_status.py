"""Finds out how a study stands, from study.yaml, records, lease, logs and checkpoints. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.records.cells import Kind, labels, teacher_labels
from analysis.records.rows import outcome, read_runs
from analysis.status.status import (
    FINISHED,
    RUNNING,
    STOPPED,
    CellStanding,
    PackStanding,
    Remark,
    Standing,
    TeacherStanding,
)
from study.config.parse import read_study_yaml
from study.config.study import StudyConfig
from study.costs.recorded import Expenses
from study.directory.layout import checkpoints_dir, folders
from study.directory.lease import holder
from study.planning.members import Pack, plan_members, plan_packs, plan_teachers
from study.search.replay import known_members
from study.watching.events import read_events
from trainables.models.teachers import find_teacher
from trainables.specs import Member
from trainables.training.checkpoints import newest_steps

_COLUMNS = [
    "run_id",
    "phase",
    "status",
    "teacher",
    "method",
    "seed",
    "fid",
    "steps",
    "diverged_at_step",
    "device_seconds",
]
_COLUMNS += ["finished_at"]


@dataclass(frozen=True)
class PlannedStudy:
    """A study as its study.yaml has it: its members by run_id, and how many a search has not suggested yet."""

    config: StudyConfig
    members: Mapping[str, Member]
    num_open: int


def planned_study(study_dir: Path) -> PlannedStudy:
    """The study of a directory. Raises ValueError where there is none."""
    config = read_study_yaml(study_dir)
    members, num_open = (plan_members(config), 0) if config.tuning is None else known_members(config)
    return PlannedStudy(config, {member.run_id: member for member in members}, num_open)


def find_standing(study: PlannedStudy) -> Standing:
    """How the study stands now. Raises ValueError when its records are damaged."""
    config, members = study.config, study.members
    rows = {row["run_id"]: row for row in read_runs(config.study_dir).select(_COLUMNS).to_pylist()}
    sweep = _Sweep.find(config.study_dir)
    begun = {run_id for one in sweep.begun.values() for run_id in one["run_ids"]} - set(rows)
    running = [_running_pack(config, pack_id, one, members, rows) for pack_id, one in sweep.begun.items()]
    waiting = [member for run_id, member in members.items() if run_id not in rows and run_id not in begun]
    teachers = _teachers(config)
    expenses = Expenses(config, members, rows, running, waiting, teachers, study.num_open)
    num_finished = len(set(members) & set(rows))
    is_finished = num_finished == len(members) and study.num_open == 0
    state = RUNNING if sweep.lives else FINISHED if is_finished else STOPPED
    since = sweep.started if sweep.lives else None
    return Standing(
        study=config.study,
        study_dir=str(config.study_dir),
        state=state,
        sweep=sweep.describe,
        planned=len(members) + study.num_open,
        finished=num_finished,
        not_planned=len(set(rows) - set(members)),
        teachers=teachers,
        cells=_cells(config, members, rows, begun),
        running=[pack for pack in running if pack.num_members],
        waiting=[_waiting_pack(pack) for pack in plan_packs(waiting, config.max_members)],
        failures=sweep.failures,
        bad=_bad([row for run_id, row in rows.items() if run_id in members], config.report.collapse_fid),
        member_steps_per_second=expenses.member_steps_per_second(since),
        device_seconds=sum(row["device_seconds"] or 0.0 for row in rows.values()),
        device_seconds_left=0.0 if is_finished else expenses.seconds_left(),
        seconds_left=expenses.wall_seconds_left(since) if sweep.lives else None,
    )


@dataclass(frozen=True)
class _Sweep:
    """The last sweep: whether it lives, in words and by its lease, and what its processes have logged."""

    lives: bool
    describe: str
    started: datetime | None  # its first pack: teachers are made before it
    begun: Mapping[str, Mapping[str, Any]]  # packs that were begun and not ended, by pack_id
    failures: Sequence[Remark]

    @classmethod
    def find(cls, study_dir: Path) -> _Sweep:
        held = holder(study_dir)
        events = read_events(study_dir)
        starts = [index for index, event in enumerate(events) if event["event"] == "sweep_started"]
        events = events[starts[-1] :] if starts else []
        lives = held is not None and held.lives
        begun: dict[str, Mapping[str, Any]] = {}
        for event in events if lives else ():
            if event["event"] == "pack_started":
                begun[event["pack_id"]] = event
            elif event["event"] == "pack_ended":
                begun.pop(event["pack_id"], None)
        times = [event["time"] for event in events if event["event"] == "pack_started"]
        started = datetime.fromisoformat(times[0]) if times else None
        failures = [remark for event in reversed(events) if (remark := _failure(event))]
        return cls(lives, held.describe if held else _how_it_ended(events), started, begun, failures)


def _how_it_ended(events: Sequence[Mapping[str, Any]]) -> str:
    ends = [event for event in events if event["event"] == "sweep_ended"]
    if not ends:
        return "no sweep runs" if not events else "no sweep runs; the last one was killed"
    return f"no sweep runs; the last one ended at {ends[-1]['time'][:16].replace('T', ' ')} UTC: {ends[-1]['outcome']}"


def _failure(event: Mapping[str, Any]) -> Remark | None:
    """An exception or a lost machine, in a line."""
    when, errors = event["time"][11:19], [event.get("error"), *event.get("errors", ())]
    said = [str(error).strip().splitlines()[-1] for error in errors if error and str(error).strip()]
    text = ": " + said[0].split(". ")[0][:200] if said else ""
    if event["event"] == "member_failed":
        what = "failed for good" if event["final"] else "failed and is tried again"
        return Remark(text=f"{when} {what}{text}", run_id=event["run_id"])
    if event["event"] in ("worker_lost", "group_restarted", "controller_lost"):
        return Remark(text=f"{when} {event['event'].replace('_', ' ')}, its packs go on{text}")
    return None


def _running_pack(
    config: StudyConfig,
    pack_id: str,
    event: Mapping[str, Any],
    members: Mapping[str, Member],
    rows: Mapping[str, Any],
) -> PackStanding:
    run_ids = [run_id for run_id in event["run_ids"] if run_id not in rows]
    return PackStanding(
        teacher=event["teacher"],
        seeds=tuple(event["seeds"]),
        methods=tuple(sorted({members[run_id].method.name for run_id in run_ids if run_id in members})),
        num_members=len(run_ids),
        num_steps=event["steps"],
        steps=newest_steps(checkpoints_dir(config.study_dir) / pack_id),
    )


def _waiting_pack(pack: Pack) -> PackStanding:
    first = pack.members[0]
    return PackStanding(
        teacher=first.teacher.name if first.teacher else None,
        seeds=(first.seed,),
        methods=tuple(sorted({member.method.name for member in pack.members})),
        num_members=len(pack.members),
        num_steps=first.train.steps,
    )


def _teachers(config: StudyConfig) -> list[TeacherStanding]:
    found = []
    for spec in plan_teachers(config):
        steps = newest_steps(checkpoints_dir(config.study_dir) / spec.teacher_id)
        made = find_teacher(spec, config.evaluation, folders(config.study_dir)) is not None
        state = "made" if made else "being trained" if steps else "waiting"
        found.append(TeacherStanding(name=spec.name, state=state, steps=steps, num_steps=spec.num_steps))
    return found


def _cells(
    config: StudyConfig, members: Mapping[str, Member], rows: Mapping[str, Any], begun: set[str]
) -> list[CellStanding]:
    """The cells of the report, with what is planned of each; all searched settings of a method are one."""
    groups: dict[tuple[str | None, str], list[str]] = {}
    teachers = teacher_labels(
        {one.teacher.teacher_id: (one.teacher.name, one.teacher.seed) for one in members.values() if one.teacher}
    )
    for (run_id, member), label in zip(members.items(), _labels(config, members, rows), strict=True):
        teacher = teachers[member.teacher.teacher_id] if member.teacher else None
        groups.setdefault((teacher, label), []).append(run_id)
    found = []
    for (teacher, label), run_ids in groups.items():
        own = [rows[run_id] for run_id in run_ids if run_id in rows]
        count = Counter(outcome(row["status"], row["fid"], config.report.collapse_fid) for row in own)
        found.append(
            CellStanding(
                teacher=teacher,
                method=label,
                planned=len(run_ids),
                ok=count["ok"],
                collapsed=count["collapsed"],
                diverged=count["diverged"],
                running=len(begun.intersection(run_ids)),
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

"""What is said when a member failed: what it was, what happened, and how to see it happen alone."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from typing import Any

from study.config.options import option_config, option_names
from study.config.study import StudyConfig
from study.execution.losses import MOST_LOSSES
from trainables.losses.methods import SETTINGS, Method
from trainables.plugins import is_path
from trainables.specs import Member, PrunedSpec, TeacherSpec, TrainSpec

_REPLACED = (
    "seeds=",
    "teachers=",
    "teacher_seeds=",
    "student.teacher_seed=",
    "methods=",
    "protocol",
    "pack.max_members=",
)
_PLAIN = re.compile(r"[\w./-]+")
_RECIPE = [field.name for field in fields(TrainSpec) if field.name != "key"]


class MemberFailedError(RuntimeError):
    """A member whose work raised an exception twice; the message is the traceback. `what`: in words."""

    what = "failed twice"

    def __init__(self, member: Member, message: str) -> None:
        super().__init__(message)
        self.member = member


class MemberLostError(MemberFailedError):
    """A member whose process died again and again without progress; the message is the cause."""

    what = f"did not get on: its process died {MOST_LOSSES} times in a row"


class TeacherLostError(RuntimeError):
    """The same of a teacher."""

    what = MemberLostError.what

    def __init__(self, teacher: TeacherSpec, message: str) -> None:
        super().__init__(message)
        self.teacher = teacher


def describe_failure(error: MemberFailedError, config: StudyConfig, command: str) -> str:
    """The failure with its context and a command that runs the member alone; command: the one that failed."""
    member = error.member
    teacher = f", teacher {member.teacher.name}" if member.teacher else ""
    return (
        f"member {member.run_id} ({member.method.name}{teacher}, seed {member.seed}) {error.what}:\n"
        f"{str(error).rstrip()}\nto run this member alone:\n  {command_alone(member, config, command)}"
    )


def describe_teacher_loss(error: TeacherLostError, command: str) -> str:
    """Which teacher died, of what, and a command that makes it alone; command: the one that failed."""
    spec = error.teacher
    dropped = ("teachers=", "teacher_seeds=", "teachers_first=")
    kept = [word for word in shlex.split(command) if not word.startswith(dropped)]
    own = [
        f"teachers=[{_inline(_teacher(spec))}]",
        *([f"teacher_seeds=[{spec.seed}]"] if spec.seed is not None else []),
    ]
    alone = shlex.join(["python", "-m", "study.teachers", *kept[3:], *own])
    seed = "" if spec.seed is None else f", seed {spec.seed}"
    return (
        f"teacher {spec.teacher_id} ({spec.name}{seed}) {error.what}:\n{error}\nto make this teacher alone:\n  {alone}"
    )


def command_alone(member: Member, config: StudyConfig, command: str) -> str:
    """The command with overrides that leave this member alone; in a folder of its own when a search made the member."""
    words = shlex.split(command)
    kept = [word for word in words if not word.startswith(_REPLACED)]
    own = [f"seeds=[{member.seed}]", f"methods=[{_inline(_method(member.method))}]"]
    if member.teacher is not None:
        own.append(f"teachers=[{_inline(_teacher(member.teacher))}]")
        if member.teacher.seed is not None:
            own.append(f"teacher_seeds=[{member.teacher.seed}]")
    if isinstance(member.student, PrunedSpec) and member.student.teacher.seed is not None:
        own.append(f"student.teacher_seed={member.student.teacher.seed}")
    own += [f"train.{name}={value}" for name, value in _differences(member.train, config.train)]
    if config.tuning is not None:
        kept = [word for word in kept if not word.startswith("study_dir=")]
        own.append(f"study_dir={config.study_dir}-{member.run_id}")
    return shlex.join([*kept, *own])


def _method(method: Method) -> dict[str, Any]:
    settings = {name: getattr(method, name) for name in SETTINGS} | dict(method.own)
    if is_path(method.output):
        settings["output"] = method.output
    found = {"method": method.name.removesuffix(f"_via_{method.assistant}"), "assistant": method.assistant}
    return {**found, **{name: value for name, value in settings.items() if value is not None}}


def _teacher(spec: TeacherSpec) -> Any:
    """The entry of a teacher: its name where a file of conf/teacher says the same."""
    model = spec.model
    if spec.pretrained is not None and spec.pretrained.folder is not None:
        own = {"variant": spec.pretrained.variant} if spec.pretrained.variant else {}
        return {"name": spec.name, "folder": spec.pretrained.folder, **own}
    known = option_config("teacher", model.name) if model.name in option_names("teacher") else {}
    if spec.pretrained is not None and spec.pretrained.shipped is not None:
        shipped = spec.pretrained.shipped.rpartition("-seed")[0]
        return spec.name if known.get("shipped") == shipped else {"name": spec.name, "shipped": shipped}
    if isinstance(model, PrunedSpec):
        if known.get("pruning", {}).items() <= model.pruning.items() and known.get("teacher") == model.teacher.name:
            return model.name
        entry = {"name": model.name, "teacher": _teacher(model.teacher), "pruning": dict(model.pruning)}
        return {**entry, "train": {name: getattr(spec.train, name) for name in _RECIPE}}
    if (known.get("model_class"), known.get("config")) == (model.model_class, dict(model.config)):
        return model.name
    return {"name": model.name, "model_class": model.model_class, "config": dict(model.config)}


def _differences(train: TrainSpec, usual: TrainSpec) -> list[tuple[str, Any]]:
    return [(name, getattr(train, name)) for name in _RECIPE if getattr(train, name) != getattr(usual, name)]


def _inline(value: Any) -> str:
    """A value in the grammar of overrides: JSON without quotes around keys and plain words."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_inline, value)) + "]"
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)

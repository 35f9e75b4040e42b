"""Losses without progress are counted, divide the pack, end the trial at the fifth, and name their cause."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from tiny_record import make_record

from analysis.records.rows import write_run
from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.directory.layout import checkpoints_dir, folders
from study.execution import teachers, trial
from study.execution.failure import MemberLostError, TeacherLostError, describe_failure, describe_teacher_loss
from study.execution.launch import Launch, Trial, WorkerGroup
from study.execution.losses import KILLED, MOST_LOSSES, GroupLostError, Losses, LostError, Work, cause_of, crash
from study.execution.lost import LostDrivers, member_lost, work_of
from study.execution.run_packs import _StopAtFailure
from study.execution.teachers import TeacherTasks
from study.execution.trial import _TryOnceMore, run_group_once, run_trial
from study.planning.members import plan_members, plan_packs, plan_teachers
from study.watching.events import read_events
from study.watching.progress import ProgressFiles
from study.watching.progress_bar import describe_teachers
from study.watching.study_count import StudyCount
from trainables.training.checkpoints import Checkpoints

PACK = Work("c" * 16, tuple(letter * 16 for letter in "1234567"), tuple(letter * 16 for letter in "abcdefg"))
GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection closed by peer"
KILL: Any = RayActorError()
JOB: Any = ["a reference to it"]


def checkpoint(study_dir: Path, steps: int) -> None:
    (checkpoints_dir(study_dir) / PACK.name / f"step-{steps:08d}").mkdir(parents=True)


def test_losses_are_counted_until_there_is_a_checkpoint_a_student_or_a_row(tmp_path: Path) -> None:
    losses = Losses(tmp_path, [PACK])
    assert [losses.seen() for _ in range(3)] == [1, 2, 3]
    checkpoint(tmp_path, 50)
    assert [losses.seen() for _ in range(3)] == [1, 2, 3]
    (folders(tmp_path).students / PACK.train_ids[0]).mkdir(parents=True)
    assert [losses.seen() for _ in range(2)] == [1, 2]
    write_run(tmp_path, make_record(PACK.run_ids[0]))
    assert [losses.seen() for _ in range(2)] == [1, 2]


def test_a_loss_at_another_step_is_not_counted(tmp_path: Path) -> None:
    losses, report = Losses(tmp_path, [PACK]), ProgressFiles(checkpoints_dir(tmp_path))
    seen = []
    for steps in (100, 105, 50, 400, 390, 410):
        report(PACK.name, steps)
        seen.append(losses.seen())
    assert seen == [1, 2, 2, 2, 3, 4]


def test_what_does_not_get_on_is_trained_in_halves_and_then_alone(tmp_path: Path) -> None:
    losses, notes = Losses(tmp_path, [PACK]), Checkpoints(checkpoints_dir(tmp_path) / PACK.name, None)
    for most in (4, 1):
        losses.seen()
        losses.seen() if most == 4 else None
        losses.divide()
        assert notes.most_members() == most


def test_the_loss_is_of_the_first_pack_that_is_not_done(tmp_path: Path) -> None:
    done = Work("d" * 16, ("9" * 16,), ("9" * 16,))
    write_run(tmp_path, make_record("9" * 16))
    assert Losses(tmp_path, [done, PACK]).current() == PACK


@pytest.mark.parametrize(
    ("error", "crashed", "cause"),
    [
        (RayActorError(), None, KILLED),
        (RayActorError(), "Segmentation fault", "its process crashed: Segmentation fault"),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), None, "memory monitor"),
        (RuntimeError(f"Traceback\n{GLOO}"), None, "Connection closed by peer"),
        (RuntimeError("NCCL error: unhandled system error"), None, "NCCL error: unhandled system error"),
        (RayActorError(error_msg="The actor died because its node has died. Node Id: 1"), None, "its node is gone"),
        (RuntimeError("node_id='1'\nThe actor is dead because its worker process has died."), None, KILLED),
    ],
)
def test_the_cause_is_said(error: Exception, crashed: str | None, cause: str) -> None:
    assert cause in cause_of([error], crashed)


def test_a_crash_is_told_by_the_process_that_crashes(tmp_path: Path) -> None:
    program = (
        "import ctypes, sys; from pathlib import Path\n"
        "from trainables.training.failures import crashes_told\n"
        "with crashes_told(Path(sys.argv[1]), 0): ctypes.string_at(0)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert result.returncode == -11
    assert crash(tmp_path) == "Segmentation fault"
    assert crash(tmp_path) is None  # said once


def policy(study_dir: Path, events: list[dict[str, Any]]) -> _TryOnceMore:
    def log(event: str, **facts: Any) -> None:
        events.append({"event": event, **facts})

    return _TryOnceMore(log, "trial", Losses(study_dir, [PACK]))


@pytest.mark.parametrize("error", [KILL, RuntimeError(GLOO)], ids=["killed", "gloo"])
def test_the_fifth_loss_without_progress_ends_the_trial(error: Exception, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    judge = policy(tmp_path, events)
    for _ in range(MOST_LOSSES - 1):
        judge.after_exception(None, {0: error})
    with pytest.raises(LostError) as ended:
        judge.after_exception(None, {0: error})
    assert ended.value.name == PACK.name
    assert [event["without_progress"] for event in events] == [1, 2, 3, 4, 5]
    assert {event["cause"] for event in events} == {cause_of([error])}


def test_losses_with_progress_have_no_limit(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    judge = policy(tmp_path, events)
    for steps in range(1, 4 * MOST_LOSSES):
        checkpoint(tmp_path, steps)
        judge.after_exception(None, {0: KILL})
    assert {event["without_progress"] for event in events} == {1}


@pytest.mark.parametrize("error", [KILL, ControllerError(WorkerGroupStartupFailedError("a worker died"))], ids=str)
def test_what_is_lost_before_it_begins_is_counted_too(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcomes = [ControllerError(WorkerGroupStartupTimeoutError(1)), *[error] * MOST_LOSSES]

    def fit(*_: object) -> None:
        raise outcomes.pop(0)

    monkeypatch.setattr(trial, "_fit", fit)
    launch = Launch(None, WorkerGroup(1, 1.0, 0.0), {}, lambda *_, **__: None, tmp_path)
    found = run_trial({"trial": Trial("name", None, [PACK])}, launch)
    assert found == {"error": KILLED, "run_id": None, "lost": PACK.name}
    assert outcomes == []


def test_a_driver_that_is_lost_again_and_again_ends_the_sweep(tmp_path: Path) -> None:
    lost = LostDrivers(tmp_path)
    tried = SimpleNamespace(
        config={"trial": Trial("name", None, [PACK])}, trial_id="1", get_pickled_error=RayActorError
    )
    for _ in range(MOST_LOSSES - 1):
        lost.on_trial_recover(0, [], tried)
        assert lost.last is None
    lost.on_trial_recover(0, [], tried)
    assert lost.last is not None
    assert lost.last.name == PACK.name
    assert [event["event"] for event in read_events(tmp_path)] == ["driver_lost"] * MOST_LOSSES


def test_the_member_in_training_is_named_with_the_cause_and_how_to_run_it(tmp_path: Path) -> None:
    config = study_config(compose("config", [f"study_dir={tmp_path}", "teachers=[unet_16]", "seeds=[0,1]"]))
    pack = plan_packs(plan_members(config), None)[0]
    notes = Checkpoints(checkpoints_dir(tmp_path) / pack.pack_id, None)
    assert work_of(pack).name == pack.pack_id
    assert member_lost(tmp_path, pack, KILLED).member == pack.members[0]
    notes.note_in_training([pack.members[-1].run_id])
    error = member_lost(tmp_path, pack, KILLED)
    assert isinstance(error, MemberLostError)
    assert error.member == pack.members[-1]
    text = describe_failure(error, config, "python -m study.sweep seeds=[0,1]")
    assert f"member {error.member.run_id}" in text
    assert f"its process died {MOST_LOSSES} times in a row:\n{KILLED}\n" in text
    assert "to run this member alone:\n  python -m study.sweep" in text


class Tasks:
    """In place of Ray: tasks that all die."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.started = error, list[str]()

    def start(self, spec: Any, _config: Any, where: str) -> str:
        self.started.append(where)
        return str(spec.teacher_id)

    def wait(self, refs: list[str], **_: object) -> tuple[list[str], list[str]]:
        return refs, []

    def get(self, _ref: str) -> None:
        if self.error is not None:
            raise self.error


def test_a_teacher_that_dies_again_and_again_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = f"python -m study.sweep study_dir={tmp_path} teachers=[unet_16,unet_32]"
    config = study_config(compose("config", [f"study_dir={tmp_path}", "teachers=[unet_16,unet_32]"]))
    tasks = Tasks(WorkerCrashedError())
    monkeypatch.setattr(teachers, "_start", tasks.start)
    monkeypatch.setattr(teachers.ray, "wait", tasks.wait)
    monkeypatch.setattr(teachers.ray, "get", tasks.get)
    made = TeacherTasks(config, plan_teachers(config))
    with pytest.raises(TeacherLostError) as ended:
        made.wait()
    assert made.failed
    assert tasks.started.count("SPREAD") >= MOST_LOSSES - 2  # another node, where there is one
    text = describe_teacher_loss(ended.value, command)
    assert f"({ended.value.teacher.name}" in text
    alone = text.splitlines()[-1].split()[3:]
    named = study_config(compose("config", [word.strip("'") for word in alone]))
    assert plan_teachers(named) == [ended.value.teacher]
    assert {event["without_progress"] for event in read_events(tmp_path)} == set(range(1, MOST_LOSSES + 1))


def test_teachers_that_do_not_die_are_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = study_config(compose("config", [f"study_dir={tmp_path}", "teachers=[unet_16,unet_32]"]))
    tasks = Tasks(None)
    monkeypatch.setattr(teachers, "_start", tasks.start)
    monkeypatch.setattr(teachers.ray, "wait", tasks.wait)
    monkeypatch.setattr(teachers.ray, "get", tasks.get)
    made = TeacherTasks(config, plan_teachers(config))
    made.wait()
    assert tasks.started == ["DEFAULT", "DEFAULT"]
    assert made.num_running == 0


@pytest.mark.parametrize(("num_workers", "places"), [(1, 1), (2, 1), (3, 2), (8, 4)])
def test_a_teacher_takes_as_many_places_as_its_ranks_need(
    num_workers: int, places: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overrides = ["cluster.num_workers=2", f"cluster.teacher_num_workers={num_workers}", "teacher_train.batch_size=24"]
    config = study_config(compose("config", [f"study_dir={tmp_path}", "teachers=[unet_16]", *overrides]))
    tasks = OneByOne()
    monkeypatch.setattr(teachers, "_start", tasks.start)
    monkeypatch.setattr(teachers.ray, "wait", tasks.wait)
    assert TeacherTasks(config, plan_teachers(config)).num_running == places


def test_what_ends_a_group_is_its_own_error_or_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(error: Exception) -> Exception:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(trial, "run_group", fail)
        with pytest.raises(Exception) as found:  # noqa: PT011
            run_group_once("teacher_worker", JOB, WorkerGroup(2, 1.0, 0.0), {}, "name")
        return found.value

    own, closed = ValueError("teacher unet_16 diverged at step 3"), RuntimeError(GLOO)
    assert ended(WorkerGroupError("", {0: own, 1: closed})) is own
    for lost_group in (
        WorkerGroupError("", {0: RayActorError(), 1: own}),
        WorkerGroupError("", {0: closed, 1: closed}),
        ControllerError(WorkerGroupStartupFailedError("no worker")),
        RayActorError(),
    ):
        assert isinstance(ended(lost_group), GroupLostError)
    assert GLOO in str(ended(WorkerGroupError("", {1: closed})))


def test_a_group_waits_for_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Exception | None] = [WorkerGroupStartupTimeoutError(2), None]

    def run(*_: object, **__: object) -> None:
        if (error := found.pop(0)) is not None:
            raise ControllerError(error)

    monkeypatch.setattr(trial, "run_group", run)
    run_group_once("teacher_worker", JOB, WorkerGroup(2, 1.0, 0.0), {}, "name")
    assert found == []


def test_a_teacher_that_will_never_exist_stops_the_packs_that_run(tmp_path: Path) -> None:
    needed: Any = SimpleNamespace(failed=False)
    stopper = _StopAtFailure(LostDrivers(tmp_path), needed)
    assert not stopper.stop_all()
    needed.failed = True
    assert stopper.stop_all()


class OneByOne:
    """Ray's tasks, which end when they are told to; notes in which order they begin."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: set[str] = set()

    def start(self, spec: Any, _config: StudyConfig, _where: str) -> Any:
        self.begun.append(spec.name)
        return spec.name

    def wait(self, running: list[Any], timeout: float = 0.0) -> tuple[list[Any], list[Any]]:
        return [one for one in running if one in self.ended], []


def test_only_what_runs_takes_a_place_and_the_student_is_cut_before_other_teachers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cut = "{name: half, teacher: unet_32, pruning: {how: diff_pruning, ratio: 0.5}}"
    overrides = [f"teachers=[unet_16,{cut},unet_32]", "student=diff_pruned", "student.teacher=unet_32"]
    config = study_config(compose("config", [f"study_dir={tmp_path}", *overrides]))
    tasks = OneByOne()
    monkeypatch.setattr(teachers, "_start", tasks.start)
    monkeypatch.setattr(teachers, "_start_student", tasks.start)
    monkeypatch.setattr(teachers.ray, "wait", tasks.wait)
    monkeypatch.setattr(teachers.ray, "get", lambda _task: None)
    made = TeacherTasks(config, plan_teachers(config))
    assert tasks.begun == ["unet_32", "unet_16"]
    assert made.num_running == 2  # of four: a third place is free for packs
    assert not made.cuts_student
    assert describe_teachers(made, StudyCount(tmp_path))[1] == "teachers 0/3, "
    tasks.ended.add("unet_32")
    assert made.num_running == 3
    assert tasks.begun == ["unet_32", "unet_16", "diff_pruned", "half"]
    assert made.cuts_student
    assert describe_teachers(made, StudyCount(tmp_path))[1] == "teachers 1/3, cutting the student, "
    tasks.ended |= {"unet_16", "diff_pruned", "half"}
    made.wait()
    assert (made.num_running, made.cuts_student) == (0, False)


def test_a_student_of_a_teacher_that_exists_is_cut_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    overrides = ["teachers=[unet_16,unet_32]", "student=diff_pruned", "student.teacher=unet_32"]
    config = study_config(compose("config", [f"study_dir={tmp_path}", *overrides]))
    tasks = OneByOne()
    monkeypatch.setattr(teachers, "_start", tasks.start)
    monkeypatch.setattr(teachers, "_start_student", tasks.start)
    monkeypatch.setattr(teachers.ray, "wait", tasks.wait)
    there = [spec for spec in plan_teachers(config) if spec.name == "unet_16"]
    TeacherTasks(config, there)
    assert tasks.begun == ["diff_pruned", "unet_16"]

"""A pack that was interrupted ends as if it had not been, from its newest complete checkpoint."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from tiny import SHAPE, evaluation_spec, member, teacher_spec, train_spec, unet
from tiny import folders as folders_in

from trainables.data.digits import Digits
from trainables.folders import Folders
from trainables.losses.methods import METHODS
from trainables.models import build_model
from trainables.models.saved import TrainedStudent
from trainables.ranks import Ranks
from trainables.specs import Member, Rung
from trainables.training import checkpoints as checkpoints_module
from trainables.training import pack
from trainables.training.checkpoints import Checkpoints, is_complete
from trainables.training.pack import MemberResult, Progress, run_pack, train_pack
from trainables.training.teachers import make_teacher

TRAIN = train_spec(steps=4, batch_size=4, lr_schedule="cosine")
LOST = member("out_kd", train=TRAIN, lambda_out=1e38)  # more than float32 holds
STOPPED = replace(member("out_kd", train=TRAIN), rungs=(Rung(step=2, num_images=16, threshold=1.0),))
MEASURED = replace(
    member("feat_kd", train=TRAIN), rungs=tuple(Rung(step=s, num_images=16, threshold=None) for s in (1, 2, 3))
)
PAIR = (member("lift_place_feat", train=TRAIN), member("out_kd", train=TRAIN))
KINDS = (
    *(member(name, train=TRAIN) for name in METHODS),
    member("lift_place_feat", train=TRAIN, gate="cosine", seed=1),
    member("lift_feat", train=TRAIN, student=unet(4, dropout=0.5)),
    replace(member("out_feat_kd", train=TRAIN), train=replace(TRAIN, optimiser="adamw")),
    LOST,
    STOPPED,
    MEASURED,
)
EVERY_STEP = 0.0  # seconds between two checkpoints


class Killed(BaseException):
    """Stands for the end of the process; nothing catches it."""


def train(
    members: Sequence[Member], checkpoints: Checkpoints | None = None, *, killed_at: int | None = None
) -> tuple[dict[str, TrainedStudent], list[int]]:
    """The outcomes by train_id and the steps that were taken; killed_at: after that step, before its checkpoint."""
    steps: list[int] = []

    def progress(step: int) -> None:
        steps.append(step)
        if step == killed_at:
            raise Killed

    dtype = getattr(torch, members[0].train.precision)
    teacher = build_model(unet(8), SHAPE, seed=100).to(dtype).eval().requires_grad_(False)
    outcomes = train_pack(
        members,
        teacher,
        Digits().load(),
        initial=Path(),
        device=torch.device("cpu"),
        ranks=Ranks(),
        progress=Progress(progress, interval_seconds=-1.0),
        measure=lambda _model, _num_images: 50.0,
        checkpoints=checkpoints,
    )
    return {outcome.train_id: outcome for outcome in outcomes}, steps


def interrupted(members: Sequence[Member], folder: Path, *, killed_at: int = 3) -> Checkpoints:
    checkpoints = Checkpoints(folder, EVERY_STEP)
    with pytest.raises(Killed):
        train(members, checkpoints, killed_at=killed_at)
    return checkpoints


@cache
def undisturbed() -> dict[str, TrainedStudent]:
    return train(PAIR)[0]


def assert_same(actual: dict[str, TrainedStudent], expected: dict[str, TrainedStudent]) -> None:
    for train_id, outcome in actual.items():
        other = expected[train_id]
        assert outcome.digest == other.digest
        assert json.dumps(outcome.curve) == json.dumps(other.curve)  # text, for a NaN is not equal to itself
        assert outcome.diverged_at_step == other.diverged_at_step
        assert outcome.stopped_at_step == other.stopped_at_step


def test_members_of_every_kind_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    expected, _ = train(KINDS)
    assert expected[LOST.train_id].diverged_at_step == 0
    assert expected[STOPPED.train_id].stopped_at_step == 2
    checkpoints = interrupted(KINDS, tmp_path / "pack")
    outcomes, steps = train(KINDS, checkpoints)
    assert steps == [3, 4]
    assert set(outcomes) == set(expected)
    assert_same(outcomes, expected)
    assert [point["step"] for point in outcomes[MEASURED.train_id].curve if "fid" in point] == [1, 2, 3]


def test_a_double_precision_member_ends_the_same(tmp_path: Path) -> None:
    one = member("lift_place_feat", train=train_spec(steps=4, batch_size=4, precision="float64"))
    checkpoints = interrupted([one], tmp_path / "pack")
    outcomes, steps = train([one], checkpoints)
    assert steps == [3, 4]
    assert_same(outcomes, train([one])[0])


def test_a_pack_that_is_killed_again_and_again_ends_the_same(tmp_path: Path) -> None:
    for killed_at in (1, 2, 3, 4):
        checkpoints = interrupted(PAIR, tmp_path / "pack", killed_at=killed_at)
    outcomes, steps = train(PAIR, checkpoints)
    assert steps == [4]
    assert_same(outcomes, undisturbed())


def test_only_the_members_that_are_left_go_on(tmp_path: Path) -> None:
    checkpoints = interrupted(PAIR, tmp_path / "pack")
    outcomes, steps = train(PAIR[1:], checkpoints)
    assert steps == [3, 4]
    assert_same(outcomes, undisturbed())


def test_a_checkpoint_that_lacks_a_member_is_of_no_use_and_removed(tmp_path: Path) -> None:
    checkpoints = interrupted(PAIR[:1], tmp_path / "pack")
    outcomes, steps = train(PAIR, replace(checkpoints, every_seconds=1000.0))
    assert steps == [1, 2, 3, 4]
    assert_same(outcomes, undisturbed())
    assert not list((tmp_path / "pack").iterdir())


@pytest.mark.parametrize(("condition", "other"), [("world_size", 2), ("device", "cuda"), ("torch", "1.0")])
def test_a_checkpoint_of_other_conditions_is_of_no_use(
    condition: str, other: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions = checkpoints_module._conditions
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints_module, "_conditions", lambda *args: {**conditions(*args), condition: other})
        checkpoints = interrupted(PAIR[:1], tmp_path / "pack")
    assert train(PAIR[:1], checkpoints)[1] == [1, 2, 3, 4]


def test_the_two_newest_are_kept_and_none_of_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    train(PAIR[:1], Checkpoints(folder, EVERY_STEP))
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]
    assert all(is_complete(path) for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.safetensors", "changed"),
        ("members.json", "changed"),
        ("complete.json", "changed"),
        ("complete.json", "cut off"),
        ("state.safetensors", "missing"),
        ("complete.json", "missing"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(name: str, damage: str, tmp_path: Path) -> None:
    checkpoints = interrupted(PAIR, tmp_path / "pack")
    path = tmp_path / "pack" / "step-00000002" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-7] if damage == "cut off" else content[:-7] + b"9" + content[-6:])
    outcomes, steps = train(PAIR, checkpoints)
    assert steps == [2, 3, 4]
    assert_same(outcomes, undisturbed())


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    checkpoints = interrupted(PAIR[:1], tmp_path / "pack")
    leftover = tmp_path / "pack" / ".step-00000003.0a1b2c3d.tmp"
    leftover.mkdir()
    (leftover / "state.safetensors").write_bytes(b"half")
    assert train(PAIR[:1], checkpoints)[1] == [3, 4]
    assert not leftover.exists()


def test_the_seconds_before_the_kill_count(tmp_path: Path) -> None:
    checkpoints = interrupted(PAIR[:1], tmp_path / "pack")
    (one,) = PAIR[:1]
    found = json.loads((tmp_path / "pack" / "step-00000002" / "members.json").read_text())["members"][one.train_id]
    assert found["run_id"] == one.run_id
    assert found["seconds"] > 0
    outcomes, _ = train([one], checkpoints)
    assert outcomes[one.train_id].train_seconds > found["seconds"]


def test_every_checkpoint_is_reported(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    folder = tmp_path / "pack"
    train(PAIR[:1], Checkpoints(folder, EVERY_STEP, lambda path, steps: told.append((path.name, steps))))
    assert told == [(f"step-0000000{steps}", steps) for steps in (1, 2, 3)]


def test_run_ids_tell_whose_state_a_folder_holds(tmp_path: Path) -> None:
    assert checkpoints_module.run_ids(tmp_path / "pack") is None
    interrupted(PAIR, tmp_path / "pack")
    assert checkpoints_module.run_ids(tmp_path / "pack") == {one.run_id for one in PAIR}


@pytest.fixture(scope="module")
def with_teacher(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("study")
    folders = folders_in(root)
    make_teacher(teacher_spec(), evaluation_spec(), folders)
    return folders


def test_a_pack_removes_its_checkpoints_once_all_its_members_are_recorded(
    with_teacher: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path / "pack", EVERY_STEP)
    members = [member("out_kd", train=TRAIN), replace(LOST, seed=3)]
    results: list[MemberResult] = []

    def sink(result: MemberResult) -> None:
        assert (tmp_path / "pack").exists()
        results.append(result)
        if len(results) == 2:
            raise Killed

    with pytest.raises(Killed):
        run_pack(members, with_teacher, sink, checkpoints=checkpoints)
    assert (tmp_path / "pack").exists()
    steps: list[int] = []
    monkeypatch.setattr(pack, "train_pack", partial(watched, steps, pack.train_pack))
    run_pack(members, with_teacher, results.append, checkpoints=checkpoints)
    assert steps == []  # the student is kept, and the other's divergence is in the checkpoint
    assert not (tmp_path / "pack").exists()
    assert [result.trained.digest for result in results[:2]] == [result.trained.digest for result in results[2:]]
    assert results[3].trained.diverged_at_step == 0


def watched(steps: list[int], train: object, *args: object, **kwargs: object) -> object:
    return train(*args, **{**kwargs, "progress": Progress(steps.append, interval_seconds=-1.0)})  # type: ignore[operator]


def test_an_interrupted_teacher_goes_on(tmp_path: Path) -> None:
    spec = teacher_spec(model=unet(4), train=train_spec(steps=4, key="teacher_train"))
    folders = [folders_in(root) for root in (tmp_path / "a", tmp_path / "b")]
    make_teacher(spec, evaluation_spec(), folders[0])
    checkpoints, steps = Checkpoints(tmp_path / "checkpoints", EVERY_STEP), []

    def progress(step: int) -> None:
        steps.append(step)
        if step == 3:
            raise Killed

    watching = Progress(progress, interval_seconds=-1.0)
    with pytest.raises(Killed):
        make_teacher(spec, evaluation_spec(), folders[1], progress=watching, checkpoints=checkpoints)
    steps.clear()
    watching = Progress(steps.append, interval_seconds=-1.0)
    make_teacher(spec, evaluation_spec(), folders[1], progress=watching, checkpoints=checkpoints)
    assert steps == [3, 4]
    digests = [json.loads((f.teachers / spec.teacher_id / "teacher.json").read_text())["digest"] for f in folders]
    assert digests[0] == digests[1]
    assert not (tmp_path / "checkpoints").exists()

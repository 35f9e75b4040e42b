"""A pack that does not fit the memory is trained in parts; no member is lost and no result changes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import evaluation_spec, member, teacher_spec, train_spec
from tiny import folders as folders_in

from trainables.evaluation import evaluator
from trainables.folders import Folders
from trainables.models.saved import TrainedStudent
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training import pack
from trainables.training.checkpoints import Checkpoints
from trainables.training.execution import Execution
from trainables.training.failures import DoesNotFitError, MemberError
from trainables.training.out_of_memory import split, train_in_parts
from trainables.training.pack import MemberResult, run_pack
from trainables.training.stack import Stack
from trainables.training.teachers import make_teacher

TRAIN = train_spec(steps=2, batch_size=4)
MEMBERS = [member("out_kd", train=TRAIN, seed=seed, lambda_out=weight) for seed in (0, 1) for weight in (1.0, 0.5)]


def memory_for(most: int, asked: list[int]) -> Callable[[Sequence[Member]], list[TrainedStudent]]:
    """Stands for training on a device that holds `most` members."""

    def train(members: Sequence[Member], **_: object) -> list[TrainedStudent]:
        asked.append(len(members))
        if len(members) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [TrainedStudent(one.train_id, None, None, [], 0.0, 0) for one in members]

    return train


@pytest.mark.parametrize(("most", "asked"), [(4, [4]), (3, [4, 2, 2]), (2, [4, 2, 2]), (1, [4, 2, 1, 1, 2, 1, 1])])
def test_every_member_is_trained_once_in_parts_that_fit(most: int, asked: list[int], tmp_path: Path) -> None:
    found: list[int] = []
    checkpoints = Checkpoints(tmp_path, 0)
    outcomes = list(train_in_parts(MEMBERS, memory_for(most, found), Ranks(), checkpoints))
    assert sorted(outcome.train_id for outcome in outcomes) == sorted(one.train_id for one in MEMBERS)
    assert found == asked
    again: list[int] = []
    list(train_in_parts(MEMBERS, memory_for(most, again), Ranks(), checkpoints))
    assert max(again) <= most  # what fits is remembered


def test_parts_are_cut_between_seeds_first() -> None:
    members = [member("out_kd", seed=seed, lambda_out=weight) for seed in (0, 1, 2) for weight in (1.0, 0.5, 0.2)]
    assert [len(part) for part in split(members, None)] == [9]
    assert [[one.seed for one in part] for part in split(members, 6)] == [[0] * 3, [1] * 3 + [2] * 3]
    assert [[one.seed for one in part] for part in split(members, 3)] == [[0] * 3, [1] * 3, [2] * 3]
    assert sorted(len(part) for part in split(members[:3], 2)) == [1, 2]
    assert split([], None) == []


def test_ranks_begin_again_with_the_size_that_fits(tmp_path: Path) -> None:
    checkpoints, asked = Checkpoints(tmp_path, 0), []
    two = Ranks(0, 2)
    with pytest.raises(DoesNotFitError, match="4 members do not fit"):
        list(train_in_parts(MEMBERS, memory_for(2, asked), two, checkpoints))
    assert len(list(train_in_parts(MEMBERS, memory_for(2, asked), two, checkpoints))) == 4
    assert asked == [4, 2, 2]


def test_a_pack_begins_in_parts_that_were_measured_to_fit(tmp_path: Path) -> None:
    checkpoints, asked = Checkpoints(tmp_path, 0), []
    outcomes = list(train_in_parts(MEMBERS, memory_for(2, asked), Ranks(), checkpoints, lambda _members: 2))
    assert (len(outcomes), asked) == (4, [2, 2])
    assert checkpoints.most_members() == 2

    def measured_again(_members: Sequence[Member]) -> int:
        raise AssertionError("what fits is known")

    list(train_in_parts(MEMBERS, memory_for(2, asked), Ranks(), checkpoints, measured_again))
    list(train_in_parts(MEMBERS[:1], memory_for(2, asked), Ranks(), None, measured_again))
    assert asked == [2, 2, 2, 2, 1]


def test_a_measure_that_was_too_high_is_mended_as_ever() -> None:
    asked: list[int] = []
    outcomes = list(train_in_parts(MEMBERS, memory_for(1, asked), Ranks(), None, lambda _members: 2))
    assert (len(outcomes), asked) == (4, [2, 1, 1, 2, 1, 1])


def test_a_member_whose_measured_step_does_not_fit_is_tried_alone(tmp_path: Path) -> None:
    def does_not_fit(_members: Sequence[Member]) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    asked: list[int] = []
    with pytest.raises(MemberError, match="CUDA out of memory"):
        list(train_in_parts(MEMBERS, memory_for(0, asked), Ranks(), None, does_not_fit))
    assert asked == [1]
    checkpoints = Checkpoints(tmp_path, 0)
    with pytest.raises(DoesNotFitError, match="a step of one member"):  # the others wait within that step
        list(train_in_parts(MEMBERS, memory_for(1, asked), Ranks(1, 2), checkpoints, does_not_fit))
    assert checkpoints.most_members() == 1


def test_a_member_that_does_not_fit_alone_is_named() -> None:
    with pytest.raises(MemberError, match="CUDA out of memory") as caught:
        list(train_in_parts(MEMBERS, memory_for(0, []), Ranks(), None))
    assert caught.value.run_id in {one.run_id for one in MEMBERS}


@pytest.fixture(scope="module")
def with_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    make_teacher(teacher_spec(), evaluation_spec(), folders(root, "made"))
    return root


def folders(root: Path, name: str) -> Folders:
    return replace(folders_in(root), students=root / name / "students")


@pytest.fixture(scope="module")
def wholes(with_teacher: Path) -> dict[bool, list[MemberResult]]:
    """The members, trained at once where memory is no matter; fused or not."""
    found: dict[bool, list[MemberResult]] = {False: [], True: []}
    for fused, results in found.items():
        run_pack(MEMBERS, folders(with_teacher, f"whole, {fused}"), results.append, execution=Execution(fused=fused))
    return found


def test_a_pack_in_parts_has_the_results_of_the_whole(
    with_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = MEMBERS[:2]
    whole: list[MemberResult] = []
    run_pack(members, folders(with_teacher, "whole"), whole.append)
    train_members, asked = pack.train_members, []

    def run_out_of_memory(trainees: Sequence[object], *args: object, **kwargs: object) -> object:
        """In the middle of the training of two members, after a checkpoint of both."""
        asked.append(len(trainees))
        if len(trainees) > 1:
            with pytest.raises(KeyboardInterrupt):
                train_members(trainees, *args, **{**kwargs, "progress": interrupt_at(2)})
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_members(trainees, *args, **kwargs)

    monkeypatch.setattr(pack, "train_members", run_out_of_memory)
    parts: list[MemberResult] = []
    run_pack(members, folders(with_teacher, "parts"), parts.append, checkpoints=Checkpoints(tmp_path / "pack", 0))
    assert asked == [2, 1, 1]
    assert [result.trained.digest for result in parts] == [result.trained.digest for result in whole]
    assert [result.trained.curve for result in parts] == [result.trained.curve for result in whole]
    assert [dict(result.evaluation.metrics) for result in parts] == [dict(one.evaluation.metrics) for one in whole]
    assert not (tmp_path / "pack").exists()


GB = 10**9


class FakeMemory:
    """A device that holds 1 GB of the process, then another with a trainee, 3 more at the most while the teacher is
    asked, 3 after the step, and 7 at the most.
    """

    def __init__(self, free: float) -> None:
        self._free, self._allocated = free, [1 * GB, 2 * GB, 5 * GB]

    def allocated(self) -> int:
        return self._allocated.pop(0)

    def peak(self) -> int:
        """While the teacher is asked, and when the step was taken."""
        return 9 * GB if not self._allocated else 5 * GB

    def reset_peak(self) -> None:
        assert len(self._allocated) == 1, "the trainee is made"

    def free(self) -> int:
        return int(self._free)


@pytest.mark.parametrize(
    ("free_gb", "fused", "asked"),
    [
        # 7 are shared, 3 of the teacher and 4 of activations, and each member has 1; 0.9 of the memory counts.
        (12.3, False, [4]),
        (12.2, False, [2, 2]),
        (9.9, False, [1, 1, 1, 1]),
        (1.0, False, [1, 1, 1, 1]),
        (28.9, True, [4]),  # activations of all, and 3 of the teacher's
        (28.8, True, [2, 2]),
    ],
)
def test_what_a_step_of_one_member_takes_says_how_many_fit(
    with_teacher: Path,
    wholes: dict[bool, list[MemberResult]],
    *,
    free_gb: float,
    fused: bool,
    asked: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execution, name = Execution(fused=fused), f"measured {free_gb}"
    train_members, found = pack.train_members, []

    def count(trainees: Sequence[object], *args: object, **kwargs: object) -> object:
        found.append(len(trainees))
        return train_members(trainees, *args, **kwargs)

    monkeypatch.setattr(pack, "train_members", count)
    parts: list[MemberResult] = []
    where = folders(with_teacher, name)
    run_pack(MEMBERS, where, parts.append, execution=execution, memory_of=lambda _device: FakeMemory(free_gb * GB))
    assert found == [1, *asked]  # the step, and what is trained
    assert [result.trained.digest for result in parts] == [result.trained.digest for result in wholes[fused]]
    assert [result.trained.curve for result in parts] == [result.trained.curve for result in wholes[fused]]


def test_a_fused_pack_in_parts_has_the_results_of_the_whole(
    with_teacher: Path,
    wholes: dict[bool, list[MemberResult]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fused, whole = Execution(fused=True), wholes[True]
    backward, asked = Stack.backward, []
    train_members = pack.train_members

    def run_out_of_memory(stack: Stack, *args: object, **kwargs: object) -> object:
        if asked[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return backward(stack, *args, **kwargs)

    def count(trainees: Sequence[object], *args: object, **kwargs: object) -> object:
        asked.append(len(trainees))
        return train_members(trainees, *args, **kwargs)

    monkeypatch.setattr(Stack, "backward", run_out_of_memory)
    monkeypatch.setattr(pack, "train_members", count)
    parts: list[MemberResult] = []
    checkpoints = Checkpoints(tmp_path / "pack", 0)
    where = folders(with_teacher, "parts, fused")
    run_pack(MEMBERS, where, parts.append, checkpoints=checkpoints, execution=fused)
    assert asked == [4, 2, 2]
    assert all(result.fused for result in parts)
    assert [result.trained.digest for result in parts] == [result.trained.digest for result in whole]
    assert [result.trained.curve for result in parts] == [result.trained.curve for result in whole]


def test_fused_members_are_sampled_as_one_and_measured_as_each_alone(
    with_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, asked = evaluator.sample_together, []

    def counted(models: Sequence[torch.nn.Module], *args: object, **kwargs: object) -> object:
        asked.append(len(models))
        return sample(models, *args, **kwargs)

    monkeypatch.setattr(evaluator, "sample_together", counted)
    diverging = member("out_kd", train=TRAIN, lambda_out=1e38)
    where, together, alone = folders(with_teacher, "sampled"), [], []
    run_pack([*MEMBERS, diverging], where, together.append, execution=Execution(fused=True))
    assert asked == [4]
    run_pack([*MEMBERS, diverging], where, alone.append)  # the students of before
    assert asked == [4, 1, 1, 1, 1]
    assert {result.member.run_id for result in together} == {result.member.run_id for result in alone}
    by_id = {result.member.run_id: result for result in alone}
    for one in together:
        other = by_id[one.member.run_id]
        assert one.trained.digest == other.trained.digest
        if one.evaluation is None or other.evaluation is None:
            assert one.evaluation is other.evaluation
            continue
        assert (one.evaluation.samples.int() - other.evaluation.samples.int()).abs().max() <= 1
        assert dict(one.evaluation.metrics) == pytest.approx(dict(other.evaluation.metrics), rel=1e-3, abs=1e-5)
        assert one.evaluation.student_teacher_distance == other.evaluation.student_teacher_distance
        assert one.eval_seconds > 0


def interrupt_at(last: int) -> Callable[[int], None]:
    def progress(step: int) -> None:
        if step == last:
            raise KeyboardInterrupt

    return progress

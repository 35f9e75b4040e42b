"""A member's result does not depend on who shares its pack; a pack trains what is missing and evaluates everything."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from tiny import SHAPE, evaluation_spec, member, teacher_spec, train_spec, unet
from tiny import folders as folders_in

from trainables.data.digits import Digits
from trainables.folders import Folders
from trainables.models import build_model
from trainables.models.digest import weights_digest
from trainables.models.saved import TrainedStudent, load_student
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training import pack
from trainables.training.pack import MemberResult, Progress, check_pack, run_pack, train_pack
from trainables.training.teachers import make_teacher
from trainables.training.trainee import Trainee

METRICS = {"fid", "is_mean", "kid", "precision_", "recall"}


def trained(members: Sequence[Member]) -> dict[str, TrainedStudent]:
    """The outcomes of one pack of these members beside a teacher of random weights, by train_id."""
    teacher = build_model(unet(8), SHAPE, seed=100).eval().requires_grad_(False)
    outcomes = train_pack(
        members,
        teacher,
        Digits().load(),
        initial=Path(),
        device=torch.device("cpu"),
        ranks=Ranks(),
        progress=Progress(),
    )
    assert [outcome.train_id for outcome in outcomes] == [one.train_id for one in members]
    return {outcome.train_id: outcome for outcome in outcomes}


WATCHED = (member("diffusion_only"), member("out_feat_kd"), member("lift_place_feat"))


@cache
def alone(index: int) -> TrainedStudent:
    return trained([WATCHED[index]])[WATCHED[index].train_id]


def diverging(seed: int = 0, **settings: object) -> Member:
    """Its loss is above what float32 holds."""
    return member("out_kd", seed=seed, **({"lambda_out": 1e38} | settings))


def assert_undisturbed(outcomes: dict[str, TrainedStudent]) -> None:
    for index, one in enumerate(WATCHED):
        outcome = outcomes[one.train_id]
        assert outcome.digest == alone(index).digest, one.method.name
        assert outcome.curve == alone(index).curve
        assert outcome.diverged_at_step is None


def test_members_differ_from_each_other() -> None:
    assert len({alone(index).digest for index in range(3)}) == 3
    untrained = build_model(unet(4), SHAPE, seed=0)
    assert weights_digest(untrained) not in {alone(index).digest for index in range(3)}


def test_a_member_is_the_same_alone_again() -> None:
    assert trained([WATCHED[2]])[WATCHED[2].train_id].digest == alone(2).digest


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_member_is_the_same_in_a_pack_of_three(order: tuple[int, ...]) -> None:
    assert_undisturbed(trained([WATCHED[index] for index in order]))


def test_a_member_is_the_same_in_a_pack_of_twelve() -> None:
    mates = [
        member("lift_place_feat", seed=1),
        member("out_kd", lambda_out=0.3),
        member("lift", coarse_norm="l2"),
        member("out_feat_kd", seed=2),
        member("feat_kd", seed=1),
        member("lift_place", group_size=8),
        member("diffusion_only", seed=2),
        member("lift_feat", student=unet(4, dropout=0.5)),
        member("lift_place", gate="cosine", seed=3),
    ]
    assert_undisturbed(trained([*mates[:4], *WATCHED, *mates[4:]]))


@pytest.mark.parametrize("settings", [{}, {"lambda_out": 1e20}], ids=["loss overflows", "gradient overflows"])
def test_a_member_is_the_same_when_its_mates_diverge(settings: dict) -> None:
    lost = [diverging(seed=seed, **settings) for seed in (0, 1)]
    outcomes = trained([lost[0], *WATCHED, lost[1]])
    assert_undisturbed(outcomes)
    for one in lost:
        outcome = outcomes[one.train_id]
        assert (outcome.model, outcome.digest, outcome.diverged_at_step) == (None, None, 0)
        assert [point["step"] for point in outcome.curve] == [0]


def test_a_member_that_diverges_on_the_way_is_frozen_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, calls = member("lift", lambda_out=0.2), []
    backward = Trainee.backward

    def failing_backward(self: Trainee, *args: object, **kwargs: object) -> torch.Tensor:
        check = backward(self, *args, **kwargs)
        if self.member != lost:
            return check
        calls.append(len(calls))
        return check * math.nan if len(calls) == 4 else check

    for index in range(3):
        alone(index)  # before anything is patched
    monkeypatch.setattr(Trainee, "backward", failing_backward)
    outcomes = trained([WATCHED[0], lost, *WATCHED[1:]])
    assert_undisturbed(outcomes)
    assert outcomes[lost.train_id].diverged_at_step == 3
    assert calls == [0, 1, 2, 3]  # nothing is computed for it any more


def test_a_pack_that_diverges_as_a_whole_stops() -> None:
    steps: list[int] = []
    outcomes = train_pack(
        [diverging()],
        build_model(unet(8), SHAPE, seed=100),
        Digits().load(),
        initial=Path(),
        device=torch.device("cpu"),
        ranks=Ranks(),
        progress=Progress(steps.append, interval_seconds=0.0),
    )
    assert outcomes[0].diverged_at_step == 0
    assert steps == [1]


def test_training_leaves_the_default_generator_alone() -> None:
    state = torch.get_rng_state()
    trained([member("lift_place_feat", student=unet(4, dropout=0.5))])
    assert torch.equal(torch.get_rng_state(), state)


def test_seconds_are_shared_out() -> None:
    outcomes = trained(WATCHED)
    assert all(outcome.train_seconds > 0 for outcome in outcomes.values())


@pytest.fixture(scope="module")
def with_teacher(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("study")
    folders = folders_in(root)
    make_teacher(teacher_spec(), evaluation_spec(), folders)
    return folders


def results_of(members: Sequence[Member], folders: Folders) -> dict[str, MemberResult]:
    results: list[MemberResult] = []
    run_pack(members, folders, results.append)
    assert [result.member for result in results] == list(members)
    return {result.member.method.name: result for result in results}


def test_every_member_pays_the_same_for_what_the_teacher_is_asked(
    with_teacher: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = pack.Evaluator.ask, []

    def slow(self: pack.Evaluator, teacher: object) -> object:
        if not asked:
            time.sleep(1.5)
        asked.append(teacher)
        return ask(self, teacher)  # type: ignore[arg-type]

    monkeypatch.setattr(pack.Evaluator, "ask", slow)
    members = [member("lift_place_feat", seed=8), member("out_kd", seed=8), diverging(seed=8)]
    results: list[MemberResult] = []
    run_pack(members, with_teacher, results.append)
    assert all(result.eval_seconds >= 0.75 for result in results[:2])
    assert sum(result.eval_seconds for result in results) >= 1.5
    assert results[2].evaluation is None
    assert results[2].eval_seconds < 0.1


def test_a_pack_from_teacher_to_results(with_teacher: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [member("lift_place_feat"), member("out_kd"), diverging(seed=1)]
    members[2] = replace(members[2], method=replace(members[2].method, name="diverging"))
    results = results_of(members, with_teacher)
    for name in ("lift_place_feat", "out_kd"):
        result, evaluation = results[name], results[name].evaluation
        assert evaluation is not None
        assert set(evaluation.metrics) == METRICS
        assert all(math.isfinite(value) for value in evaluation.metrics.values())
        assert evaluation.samples.shape == (16, *SHAPE.image)
        assert evaluation.samples.dtype == torch.uint8
        assert evaluation.student_teacher_distance is not None
        assert evaluation.student_teacher_distance > 0
        maps = evaluation.error_maps
        assert maps["squared_error"].shape == (len(maps["timesteps"]), 8, 8)
        assert (maps["squared_error"] > 0).all()
        assert ("place_group" in maps) == (name == "lift_place_feat")
        assert (result.world_size, result.device) == (1, "cpu")
        assert result.peak_memory_mb > 0
        kept = load_student(with_teacher.students / result.member.train_id)
        assert kept is not None
        assert kept.digest == result.trained.digest
    groups = results["lift_place_feat"].evaluation.error_maps["place_group"]
    assert all((groups == group).sum() == 16 * len(groups) for group in range(4))
    lost = results["diverging"]
    assert lost.evaluation is None
    assert lost.trained.diverged_at_step == 0
    assert not (with_teacher.students / lost.member.train_id).exists()

    def train_again(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a kept student is not trained again")

    monkeypatch.setattr(pack, "train_pack", train_again)
    other = evaluation_spec(sampler_steps=3)
    again = results_of([replace(one, evaluation=other) for one in members[:2]], with_teacher)
    for name in ("lift_place_feat", "out_kd"):
        first, second = results[name], again[name]
        assert first.evaluation is not None
        assert second.evaluation is not None
        assert second.trained.digest == first.trained.digest
        assert second.trained.curve == first.trained.curve
        assert second.trained.train_seconds == first.trained.train_seconds
        assert second.evaluation.metrics["fid"] != first.evaluation.metrics["fid"]
        assert second.evaluation.student_teacher_distance == first.evaluation.student_teacher_distance


def test_only_what_is_missing_is_trained(with_teacher: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = member("lift", seed=5), member("lift_feat", seed=5)
    results_of([first], with_teacher)
    asked: list[Member] = []

    def watch(members: Sequence[Member], *args: object, **kwargs: object) -> list[TrainedStudent]:
        asked.extend(members)
        return train_pack(members, *args, **kwargs)

    monkeypatch.setattr(pack, "train_pack", watch)
    results_of([first, second], with_teacher)
    assert asked == [second]


def test_a_pack_without_a_teacher_has_no_distance(with_teacher: Folders) -> None:
    result = results_of([member("diffusion_only", seed=6)], with_teacher)["diffusion_only"]
    assert result.evaluation is not None
    assert result.evaluation.student_teacher_distance is None
    assert result.evaluation.error_maps == {}


def test_ranks_share_out_the_evaluations(with_teacher: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "wait", lambda _self: None)  # the two are run one after the other
    members = [member("out_kd", seed=seed) for seed in (7, 8, 9)]
    results_of(members, with_teacher)  # so that no rank has anything to train
    for rank, expected in ((0, [7, 9]), (1, [8])):
        results: list[MemberResult] = []
        run_pack(members, with_teacher, results.append, ranks=Ranks(rank, 2))
        assert [result.member.seed for result in results] == expected


def test_a_pack_that_is_taken_up_again_leaves_out_what_has_a_row(with_teacher: Folders) -> None:
    members = [member("out_kd", seed=seed) for seed in (7, 8, 9)]
    results: list[MemberResult] = []
    run_pack(members, with_teacher, results.append, finished=lambda: {members[1].run_id})
    assert [result.member.seed for result in results] == [7, 9]
    run_pack(members, with_teacher, results.append, finished=lambda: {one.run_id for one in members})
    assert len(results) == 2


def test_a_rank_waits_for_the_members_of_the_others_without_a_collective(
    with_teacher: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [member("out_kd", seed=seed) for seed in (7, 8)]
    results_of(members, with_teacher)
    waits, finished = [], set()
    monkeypatch.setattr(Ranks, "wait", lambda _self: waits.append("collective"))

    def other_rank_finishes(seconds: float) -> None:
        waits.append("asleep")
        if waits.count("asleep") == 3:
            finished.add(members[1].run_id)

    monkeypatch.setattr("trainables.training.pack.time.sleep", other_rank_finishes)
    sink = lambda result: finished.add(result.member.run_id)  # noqa: E731
    run_pack(members, with_teacher, sink, ranks=Ranks(0, 2), finished=lambda: set(finished))
    assert waits == ["collective", *["asleep"] * 3], "the one before training, and none after"


def test_a_teacher_that_is_missing_is_named(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    with pytest.raises(ValueError, match=f"{teacher_spec().teacher_id} does not hold a diffusers model"):
        run_pack([member("out_kd")], folders, lambda _: None)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (member("out_kd", teacher=teacher_spec(seed=1)), "must share teacher"),
        (member("diffusion_only"), "must share teacher"),
        (member("out_kd", train=train_spec(steps=7)), "must share teacher"),
        (replace(member("out_kd"), data="other"), "must share teacher"),
        (member("out_kd", evaluation=evaluation_spec(num_images=8)), "evaluation protocol"),
        (member("lift"), "must differ in what is trained"),
    ],
)
def test_members_that_do_not_belong_in_one_pack_are_refused(other: Member, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_pack([member("lift"), other])


def test_an_empty_pack_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        check_pack([])


def test_members_of_other_seeds_methods_and_students_share_a_pack() -> None:
    check_pack([member("lift"), member("lift", seed=1), member("out_kd"), member("lift", student=unet(6))])


def test_progress_reports_at_most_once_per_interval() -> None:
    reports: list[int] = []
    slow = Progress(reports.append, interval_seconds=3600.0)
    for step in range(5):
        slow(step)
    assert reports in ([0], [])  # a machine that started within the hour may be silent

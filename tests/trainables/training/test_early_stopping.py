"""A member that is stopped at a rung leaves its pack and changes no other; a FID on the way is in the curve."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import SHAPE, member, teacher_spec, unet
from tiny import folders as folders_in

from trainables.data.digits import Digits
from trainables.models import build_model
from trainables.models.digest import weights_digest
from trainables.models.saved import TrainedStudent, load_student
from trainables.ranks import Ranks
from trainables.specs import Member, Rung
from trainables.training.pack import MemberResult, run_pack, train_pack
from trainables.training.pack import Progress as NoProgress
from trainables.training.teachers import make_teacher

MATES = (member("out_feat_kd"), member("lift_place_feat"), member("out_kd", seed=1))


def rungs(*thresholds: float | None, steps: tuple[int, ...] = (2, 4)) -> tuple[Rung, ...]:
    return tuple(Rung(step=s, num_images=16, threshold=t) for s, t in zip(steps, thresholds, strict=True))


def trained(members: list[Member], fid: float = 50.0) -> dict[str, TrainedStudent]:
    """One pack's outcomes by train_id, where every FID on the way is `fid`."""
    teacher = build_model(unet(8), SHAPE, seed=100).eval().requires_grad_(False)
    outcomes = train_pack(
        members,
        teacher,
        Digits().load(),
        initial=Path(),
        device=torch.device("cpu"),
        ranks=Ranks(),
        progress=NoProgress(),
        measure=lambda _model, _num_images: fid,
    )
    return {outcome.train_id: outcome for outcome in outcomes}


def test_a_stopped_member_leaves_its_pack_without_changing_the_others() -> None:
    undisturbed = trained(list(MATES))
    stopped = replace(member("out_kd"), rungs=rungs(49.0, None))
    measured = replace(member("feat_kd"), rungs=rungs(None, 50.0))
    outcomes = trained([stopped, *MATES, measured])
    for one in MATES:
        assert outcomes[one.train_id].digest == undisturbed[one.train_id].digest
        assert outcomes[one.train_id].curve == undisturbed[one.train_id].curve
        assert outcomes[one.train_id].stopped_at_step is None
    assert outcomes[stopped.train_id].stopped_at_step == 2
    assert outcomes[measured.train_id].stopped_at_step is None
    assert [(p["step"], p["fid"]) for p in outcomes[measured.train_id].curve if "fid" in p] == [(2, 50.0), (4, 50.0)]


def test_a_member_that_is_only_measured_trains_as_if_it_were_not() -> None:
    plain, measured = member("out_kd"), replace(member("out_kd"), rungs=rungs(None, 60.0))
    assert plain.train_id != measured.train_id
    assert trained([measured])[measured.train_id].digest == trained([plain])[plain.train_id].digest


def test_a_stopped_student_is_what_it_was_at_the_rung() -> None:
    stopped = replace(member("out_kd"), rungs=rungs(None, 49.0))
    outcome = trained([stopped, *MATES])[stopped.train_id]
    assert outcome.stopped_at_step == 4
    assert outcome.model is not None
    assert outcome.digest == weights_digest(outcome.model)
    assert outcome.digest != trained([member("out_kd")])[member("out_kd").train_id].digest
    assert [point["step"] for point in outcome.curve if "loss" in point][-1] == 3


def test_a_fid_that_is_not_a_number_stops() -> None:
    one = replace(member("out_kd"), rungs=rungs(1e9, None))
    assert trained([one], fid=float("nan"))[one.train_id].stopped_at_step == 2


def test_a_pack_of_stopped_members_ends() -> None:
    both = [replace(member("out_kd", seed=seed), rungs=rungs(1.0, None)) for seed in (0, 1)]
    assert {outcome.stopped_at_step for outcome in trained(both).values()} == {2}


def test_a_stopped_student_is_evaluated_kept_and_known_as_stopped(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    one = replace(member("out_kd"), rungs=rungs(1e-6, None))
    make_teacher(teacher_spec(), one.evaluation, folders)
    results: list[MemberResult] = []
    run_pack([one, MATES[0]], folders, results.append)
    kept = load_student(folders.students / one.train_id)
    assert kept is not None
    assert kept.stopped_at_step == 2
    run_pack([one], folders, results.append)  # found again, not trained again
    for result in (results[0], results[2]):
        assert result.trained.stopped_at_step == 2
        assert result.evaluation is not None
        assert result.evaluation.metrics["fid"] > 0
    assert results[1].trained.stopped_at_step is None
    measured = [point["fid"] for point in kept.curve if "fid" in point]
    assert measured == [pytest.approx(results[0].evaluation.metrics["fid"])]  # the same 16 images as at the end


def test_rungs_are_of_what_a_member_is() -> None:
    assert MATES[0].identity()["rungs"] == []
    assert replace(MATES[0], rungs=()).run_id == MATES[0].run_id
    assert replace(MATES[0], rungs=rungs(None, None)).run_id != MATES[0].run_id

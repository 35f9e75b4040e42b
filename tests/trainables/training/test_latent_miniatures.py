"""The experiments in latents, in miniature: students cut from a teacher, trained by the recipe, measured."""

from pathlib import Path

import pytest
import torch
from tiny import evaluation_spec, folders

from study.config.command_line import compose
from study.config.parse import study_config
from study.planning.members import plan_members
from trainables.models.students import make_initial
from trainables.specs import PrunedSpec
from trainables.training.pack import MemberResult, run_pack
from trainables.training.teachers import make_teacher

EXTRACTOR = evaluation_spec().feature_extractor
SMALL = ["train.steps=2", "teacher_train.steps=2", "evaluation.num_images=6"]


def run(experiment: str, overrides: list[str], folder: Path) -> list[MemberResult]:
    """Every member of the experiment's miniature under its first teacher, without Ray."""
    config = study_config(compose("config", [f"+experiment={experiment}", "scale=tiny", *SMALL, *overrides]))
    members = [one for one in plan_members(config) if one.teacher == config.teachers[0]]
    where, student, results = folders(folder), config.student, []
    for spec in {one.teacher_id: one for one in (*config.teachers[:1], student.teacher)}.values():
        make_teacher(spec, config.evaluation, where)
    assert isinstance(student, PrunedSpec)
    make_initial(student, where.teachers, where.initial)
    run_pack(members, where, results.append)
    return results


def check(results: list[MemberResult], num: int) -> None:
    assert len(results) == num
    for result in results:
        assert result.evaluation is not None
        assert torch.isfinite(torch.tensor([point["loss"] for point in result.trained.curve])).all()


@pytest.mark.parametrize("variant", ["base", pytest.param("small", marks=pytest.mark.full), "tiny"])
def test_every_variant_of_bk_sdm(variant: str, tmp_path: Path) -> None:
    """The features that are compared are what the stages give, with and without a downsampler."""
    results = run("sd21_bksdm", [f"student.pruning.variant={variant}", "evaluation.sampler=pndm"], tmp_path)
    check(results, 2)
    assert all(point["loss_feat"] > 0 for result in results for point in result.trained.curve)


def test_a_transformer_with_learned_variance(tmp_path: Path) -> None:
    overrides = ["evaluation.guidance_channels=first_three", "evaluation.spacing=linspace"]
    check(run("imagenet_dit_table7", overrides, tmp_path), 2)


def test_a_flow(tmp_path: Path) -> None:
    check(run("sd3_flow", [], tmp_path), 2)


@pytest.mark.parametrize(
    "inputs",
    [
        ["train.inputs=random_conditioning", "data.extra_prompts=16", "data.evaluation_prompts=6"],
        ["train.inputs=random_conditioning", "train.diffusion_loss=none"],
        ["train.inputs=data_free", "train.pool_batches=2", "train.pool_steps=4"],
    ],
)
def test_few_images_or_none(inputs: list[str], tmp_path: Path) -> None:
    results = run("sd21_bksdm", inputs, tmp_path)
    check(results, 2)
    without = "data_free" in inputs[0] or "none" in inputs[-1]
    assert all(("loss_diff" in point) != without for result in results for point in result.trained.curve)

"""Entries for teachers and students: trained here, there already, in between, or cut from another."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.config.command_line import compose
from study.config.options import option_config
from study.config.parse import study_config
from study.planning.members import plan_members, plan_packs, plan_teachers
from trainables.data import DataShape, make_data
from trainables.models import build_model, count
from trainables.process import PIXEL
from trainables.specs import ModelSpec, PrunedSpec

SPEC = ModelSpec(
    name="mine",
    model_class="UNet2DModel",
    config={
        "block_out_channels": [8],
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "layers_per_block": 1,
        "add_attention": False,
        "norm_num_groups": 4,
    },
)


def config_of(*overrides: str) -> Any:
    return study_config(compose("config", ["seeds=[0]", *overrides]))


def saved(root: Path, *, channels: int = 1, seed: int = 0, **scheduler: Any) -> Path:
    """A pipeline's directory with a U-Net of that many channels, and how it was trained."""
    build_model(SPEC, DataShape(image=(channels, 8, 8)), seed=seed).save_pretrained(root / "unet")
    (root / "scheduler").mkdir()
    known = {"_class_name": "DDIMScheduler", "_diffusers_version": "0.1", **PIXEL.config, **scheduler}
    (root / "scheduler" / "scheduler_config.json").write_text(json.dumps(known))
    return root


def test_a_teacher_that_is_there_is_read_and_known_by_its_content(tmp_path: Path) -> None:
    first, copy, other = (saved(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    specs = [config_of(f"teachers=[{{name:mine,folder:{folder}}}]").teachers[0] for folder in (first, copy, other)]
    assert specs[0].model.config["block_out_channels"] == [8]
    assert specs[0].num_steps == 0
    assert specs[0].teacher_id == specs[1].teacher_id != specs[2].teacher_id


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: saved(root, channels=3), "has in_channels 3, but the data needs 1"),
        (
            lambda root: saved(root, prediction_type="v_prediction"),
            "process=DDPMScheduler.* is not that of teacher mine",
        ),
        (
            lambda root: saved(root, beta_schedule="scaled_linear"),
            "process=DDPMScheduler.* is not that of teacher mine",
        ),
        (lambda root: root, "folder must be a diffusers directory"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(f"teachers=[{{name:mine,folder:{make(tmp_path / 'teacher')}}}]")


def test_weights_of_other_kinds_are_not_loaded(tmp_path: Path) -> None:
    folder = saved(tmp_path / "teacher")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".msgpack"))
    with pytest.raises(
        ValueError, match=r"has no weights, and others are not loaded: diffusion_pytorch_model\.msgpack"
    ):
        config_of(f"teachers=[{{name:mine,folder:{folder}}}]")


def test_a_teacher_of_the_hub_is_not_fetched_to_be_planned() -> None:
    entry = "{name:far,hub:nobody/nothing,model_class:UNet2DModel,config:{block_out_channels:[8],norm_num_groups:4,"
    entry += "down_block_types:[DownBlock2D],up_block_types:[UpBlock2D],layers_per_block:1,add_attention:false}}"
    (spec,) = config_of(f"teachers=[{entry}]").teachers
    assert spec.pretrained is not None
    assert spec.pretrained.digest == "nobody/nothing@main/"


def test_an_assistant_is_planned_between_a_larger_teacher_and_the_student() -> None:
    """TAKD: distilled from each teacher that is larger, by the same method; it is made after that teacher."""
    config = config_of("teachers=[unet_16,unet_64]", "methods=[out_kd,{method:lift_place,assistant:unet_16}]")
    members = plan_members(config)
    (through,) = (one for one in members if one.assistant)
    assert (through.teacher.name, through.assistant.name) == ("unet_64", "unet_16")
    assert through.method.name == "lift_place_via_unet_16"
    assert through.assistant.larger == through.teacher
    assert through.assistant.method.name == "lift_place"
    specs = plan_teachers(config)
    assert specs.index(through.teacher) < specs.index(through.assistant)
    assert len({spec.teacher_id for spec in specs}) == 3
    direct = config_of("teachers=[unet_64]", "methods=[lift_place]")
    assert through.run_id != plan_members(direct)[0].run_id
    assert {pack.teacher.name for pack in plan_packs([through], None)} == {"unet_16"}


def test_a_method_without_a_teacher_has_no_assistant() -> None:
    with pytest.raises(ValueError, match="diffusion_only learns from no teacher, so it takes no assistant"):
        config_of("methods=[{method:diffusion_only,assistant:unet_16}]")


def test_a_pruned_student_is_the_same_for_every_seed_and_method() -> None:
    config = config_of("student=diff_pruned", "student.teacher=unet_64", "seeds=[0,1]", "methods=[out_kd,lift_place]")
    assert isinstance(config.student, PrunedSpec)
    assert {one.student.initial_id for one in plan_members(config)} == {config.student.initial_id}
    assert config.student.teacher in plan_teachers(config)
    other = config_of("student=diff_pruned", "student.teacher=unet_64", "student.pruning.ratio=0.5")
    assert other.student.initial_id != config.student.initial_id


def test_data_free_inputs_are_for_methods_with_a_teacher() -> None:
    with pytest.raises(
        ValueError, match=r"train.inputs=data_free is for methods that learn from a teacher but got diff"
    ):
        config_of("train.inputs=data_free")
    with pytest.raises(ValueError, match=r"teacher_train.inputs must be one of real but got 'data_free'"):
        config_of("teacher_train.inputs=data_free")


HALF = "{name:half,teacher:unet_32,pruning:{how:diff_pruning,ratio:0.5},train:{steps:7}}"


def test_a_teacher_is_cut_from_another_with_a_budget_of_its_own() -> None:
    """It is planned after that one, which is planned also where no member learns from it."""
    config = config_of(f"teachers=[{HALF}]", "methods=[out_kd]")
    (half,) = config.teachers
    assert isinstance(half.model, PrunedSpec)
    assert (half.name, half.train.steps, half.model.teacher.name) == ("half", 7, "unet_32")
    assert half.model.teacher.train.steps == 140  # teacher_train's
    assert [spec.name for spec in plan_teachers(config)] == ["unet_32", "half"]
    shape = DataShape(image=(1, 8, 8))
    assert count(half.model, shape).params < 0.3 * count(half.model.teacher.model, shape).params
    said = config_of(f"teachers=[{HALF.replace('0.5', '0.5,threshold:0.0,seed:0')}]", "methods=[out_kd]")
    assert said.teachers[0].teacher_id == half.teacher_id  # a default that is spelled out
    longer = config_of(f"teachers=[{HALF.replace('7', '8')}]", "methods=[out_kd]")
    assert longer.teachers[0].teacher_id != half.teacher_id


def test_a_student_may_be_cut_from_a_teacher_that_was_cut() -> None:
    config = config_of("student=diff_pruned", f"student.teacher={HALF}", "student.pruning.ratio=0.4")
    parent = config.student.teacher
    assert [spec.name for spec in plan_teachers(config)][:2] == ["unet_32", "half"]
    shape = DataShape(image=(1, 8, 8))
    assert count(config.student, shape).params <= count(parent.model, shape).params


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (HALF.replace("0.5", "2"), r"teachers\.pruning\.ratio must be a number above 0 and below 1 but got 2"),
        (HALF.replace("7", "0"), r"teachers\.train\.steps must be a whole number from 1"),
        (HALF.replace("unet_32", "tiny_dit"), r"teachers\.teacher must be a UNet2DModel or .* but is a DiT"),
        (HALF.replace("unet_32", "nothing"), r"teachers must be among .* but got 'nothing'"),
        (
            HALF.replace("diff_pruning", "depth_pruning").replace("ratio:0.5", "num_layers:2"),
            r"teachers\.teacher must be",
        ),
        (HALF.replace("train", "trian"), r"teachers has no key 'trian'; allowed: name, teacher, pruning, train"),
        (
            "{name:a,teacher:{name:a,teacher:unet_32,pruning:{how:diff_pruning,ratio:0.5}},"
            "pruning:{how:diff_pruning,ratio:0.5}}",
            r"teachers\.teacher must not be cut from itself but a from a is",
        ),
    ],
)
def test_a_teacher_that_cannot_be_cut_so_is_refused(entry: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(f"teachers=[{entry}]")


def test_every_member_learns_from_the_teachers_of_every_seed() -> None:
    overrides = (f"teachers=[unet_16,{HALF}]", "methods=[diffusion_only,out_kd]", "seeds=[0,1]", "teacher_seeds=[3,5]")
    config = config_of(*overrides)
    assert [(one.name, one.seed) for one in config.teachers] == [
        ("unet_16", 3),
        ("unet_16", 5),
        ("half", 3),
        ("half", 5),
    ]
    members = plan_members(config)
    assert len(members) == 2 + 2 * 2 * 2  # without a teacher; teachers x their seeds x seeds
    assert len({one.teacher.teacher_id for one in members if one.teacher}) == 4
    packs = plan_packs(members, None)
    assert all(len({one.teacher and one.teacher.teacher_id for one in pack.members}) == 1 for pack in packs)
    planned = plan_teachers(config)
    assert [(one.name, one.seed) for one in planned].count(("unet_32", 5)) == 1
    for spec in planned:  # a chain has one seed
        assert all(parent.seed == spec.seed for parent in spec.made_from)


def test_the_student_is_the_same_for_the_teachers_of_every_seed() -> None:
    overrides = ("student=diff_pruned", "student.teacher=unet_64", "teachers=[unet_64]", "methods=[out_kd]")
    config = config_of(*overrides, "teacher_seeds=[3,5]")
    assert config.student.teacher.seed == 3
    assert len({one.student.initial_id for one in plan_members(config)}) == 1
    other = config_of(*overrides, "teacher_seeds=[3,5]", "student.teacher_seed=5")
    assert other.student.teacher == config.teachers[1]


def test_a_teacher_that_is_there_is_one_whatever_the_seeds(tmp_path: Path) -> None:
    config = config_of(f"teachers=[{{name:mine,folder:{saved(tmp_path / 'a')}}}]", "teacher_seeds=[0,1]")
    assert [one.seed for one in config.teachers] == [None]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("[]", r"teacher_seeds must be a list with at least one entry but got \[\]"),
        ("0", "teacher_seeds must be a list with at least one entry but got 0"),
        ("[-1]", "teacher_seeds must be a whole number from 0"),
        ("[1,1]", "teacher_seeds must be distinct but 1 is given twice"),
    ],
)
def test_seeds_of_teachers_that_cannot_be_are_refused(seeds: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(f"teacher_seeds={seeds}")


def test_searches_take_one_seed_of_teachers() -> None:
    with pytest.raises(ValueError, match=r"teacher_seeds must hold one seed where settings are searched"):
        config_of("teacher_seeds=[0,1]", "protocol=tuned")
    assert config_of("teacher_seeds=[4]", "teachers=[unet_64]", "protocol=tuned").teachers[0].seed == 4


@pytest.mark.parametrize("source", ["folder", "huggingface", "latents"])
def test_what_a_source_says_for_plans_is_none_of_its_data(source: str) -> None:
    """data.shape is a key of the group, also where python -m study.latents composes it."""
    settings = option_config("data", source)
    assert "shape" in settings
    own = {**settings, "name": "mine", "path": "somewhere"} | ({} if source == "latents" else {"size": 8})
    assert make_data(own).name == "mine"
    with pytest.raises(ValueError, match="data has no key 'form'"):
        make_data({**own, "form": None})

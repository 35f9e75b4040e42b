"""Entries for teachers and students: trained here, there already, in between, or cut from another."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.config.command_line import compose
from study.config.parse import study_config
from study.planning.members import plan_members, plan_packs, plan_teachers
from trainables.data import DataShape
from trainables.models import build_model
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


def test_weights_that_are_no_safetensors_are_not_loaded(tmp_path: Path) -> None:
    folder = saved(tmp_path / "teacher")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match="has no safetensors weights, and others are not loaded"):
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

"""The paper's experiments compose at both scales, and their models are those of the paper."""

import re
from pathlib import Path
from typing import Any

import pytest
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from trained_study import TRAINED

from study.config.command_line import compose
from study.config.options import option_names
from study.config.overrides import expanded
from study.config.parse import study_config
from study.costs.dry_run import describe
from study.planning.members import plan_members, plan_teachers
from study.sweep import main
from trainables.data import data_shape
from trainables.models import build_model, count
from trainables.specs import PrunedSpec

EXPERIMENTS = (
    *("celeba_table1", "celeba_table6", "table8_ablation", "group_size_ablation"),
    *("lsun_bedroom", "sd21_bksdm", "imagenet_dit_table7", "sd3_flow"),
)
CELEBA = EXPERIMENTS[:4]
OWN = ("mnist_pair", "digits_reference", "digits_search")  # not the paper's
# Millions of parameters, as the paper and the models' own publications print them.
PARAMS = {
    "celeba_79m": 78.700803,
    "celeba_20m": 19.714179,
    "celeba_16m": 16.648921,
    "celeba_9m": 9.252711,
    "lsun_bedroom": 113.7,
    "sd21_base": 865.9,
    "dit_xl_2": 675.1,
    "dit_d14": 340.3,
    "sd3_medium": 2028.0,
}


def config_of(name: str, *overrides: str) -> Any:
    return study_config(compose("config", [f"+experiment={name}", *overrides]))


def test_every_experiment_is_here() -> None:
    assert set(option_names("experiment")) == {*EXPERIMENTS, *OWN}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_miniature_composes(name: str) -> None:
    config = config_of(name, "scale=tiny")
    assert isinstance(config.student, PrunedSpec)
    assert config.student.teacher in plan_teachers(config)
    assert config.train.steps <= 4
    assert len(plan_members(config)) <= 20


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_dry_run_needs_nothing_and_knows_the_papers_models(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([f"+experiment={name}", "dry_run=true"]) == 0
    text = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert re.search(r"^data \w+: images of \d+x\d+x\d+.*, wanted at .*data\.path", text, re.MULTILINE)
    for teacher, params in re.findall(r"^teacher (\w+): ([\d,]+) parameters", text, re.MULTILINE):
        assert int(params.replace(",", "")) / 1e6 == pytest.approx(PARAMS[teacher], rel=0.001)
    if name == "imagenet_dit_table7":
        assert "118.7G MACs" in text
    if name in CELEBA:
        assert "student diff_pruned: 1,312,076 parameters" in text
    if name == "celeba_table6":
        for params in ("78,700,803", "19,714,179", "16,648,921", "9,252,711"):
            assert f": {params} parameters" in text


def test_mnist_pair_is_what_its_file_says() -> None:
    config = config_of("mnist_pair")
    shape = data_shape(config.data)
    assert shape.image == (1, 32, 32)
    student, *teachers = (count(spec, shape).params for spec in (config.student, *(t.model for t in config.teachers)))
    assert (student, teachers) == (24_321, [263_025, 2_302_641])
    assert len(plan_members(config)) == 10 * (1 + 2 * 2)
    assert len(plan_members(config_of("mnist_pair", "scale=tiny"))) == 5


def test_table_6_in_miniature_has_a_teacher_that_is_cut_from_another() -> None:
    config = config_of("celeba_table6", "scale=tiny")
    shape = data_shape(config.data)
    assert any(isinstance(spec.model, PrunedSpec) for spec in config.teachers)
    for spec in config.teachers:
        assert count(config.student, shape).params < count(spec.model, shape).params
    planned = plan_teachers(config)
    for spec in planned:
        assert all(planned.index(parent) < planned.index(spec) for parent in spec.made_from)


def test_the_networks_of_celeba_are_the_authors() -> None:
    """Hyun-s/LIFT_PLACE 839a663, Diff_Pruning_EXP/configs/celeba.yml and models/diffusion.py."""
    config = config_of("celeba_table6", "dry_run=true")
    whole = build_model(config.teachers[0].model, data_shape(config.data), seed=0, device="meta")
    student = build_model(config.student, data_shape(config.data), seed=0, device="meta")
    for model in (whole, student):
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.0, 0.1}
        assert all(block.dropout.p == 0.1 for block in model.modules() if isinstance(block, ResnetBlock2D))
        assert {block.norm1.eps for block in model.modules() if isinstance(block, ResnetBlock2D)} == {1e-6}
        assert {block.heads for block in model.modules() if isinstance(block, Attention)} == {1}
        assert {block.padding for block in model.modules() if isinstance(block, Downsample2D)} == {0}
        assert (model.time_proj.flip_sin_to_cos, model.time_proj.downscale_freq_shift) == (False, 1)


def test_lsun_is_trained_as_the_authors_train_it() -> None:
    config = config_of("lsun_bedroom", "dry_run=true")
    assert (config.train.lr, config.train.steps, config.train.ema_decay) == (2e-5, 500_000, 0.999)
    assert config.student.pruning["ratio"] == 0.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data=latents", "data.name=mine"],
            r"data\.path must be given; or data\.shape for a dry run .*\{image: \[C, H, W\]\}",
        ),
        (["data=latents", "data.name=mine", "data.shape={image:[4,8]}"], r"data\.shape\.image must be 3 whole numbers"),
        (["data=folder", "data.name=mine", "data.size=64"], r"data\.path must be given"),
        (["data=celeba", "data.classes=true"], r"data\.path must be given"),
        (["++data.shape={image:[3,8,8]}"], r"data\.shape must be that of the data, which is .*image=\(1, 8, 8\)"),
    ],
)
def test_shapes_that_are_not_said_or_wrong_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study_config(compose("config", [*overrides, "dry_run=true"]))


def test_what_is_planned_without_data_is_not_run(tmp_path: Path) -> None:
    overrides = ["data=folder", "data.name=mine", "data.size=8", "teachers=[unet_16]", "data.channels=1"]
    with pytest.raises(ValueError, match=r"data\.path"):
        study_config(compose("config", overrides))
    config = study_config(compose("config", [*overrides, "dry_run=true"]))
    with pytest.raises(ValueError, match=r"data\.path must say where mine is"):
        config.data.load()


def test_the_dry_run_says_what_the_study_takes() -> None:
    text = describe(study_config(compose("config", [*TRAINED, "seeds=[0,1]"])))
    assert "44 members in 8 packs of 1 to 7" in text
    assert "teacher unet_160: 6,620,641 parameters, 0.1903G MACs, 1,463 times the student, to be trained" in text
    assert re.search(r"device-hours at 4e\+10 MACs/s a worker \(assumed of a CPU thread\)\nabout \d+ MB of disk", text)


def test_what_a_user_gives_wins_over_the_experiment() -> None:
    argv = expanded(["+experiment=celeba_table6", "scale=tiny", "train.steps=7", "seeds=[5]"])
    assert [argument for argument in argv if argument.startswith(("train.steps", "seeds"))] == [
        "train.steps=7",
        "seeds=[5]",
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["+experiment=celeba"], r"\+experiment must be one of celeba_table1, .* but got 'celeba'"),
        (["+experiment=sd3_flow", "scale=small"], "scale must be one of paper, tiny but got 'small'"),
        (["scale=tiny"], r"scale is for experiments: give \+experiment=NAME too"),
        (["dry_run=perhaps"], "dry_run must be true or false but got 'perhaps'"),
    ],
)
def test_what_is_no_experiment_is_refused(argv: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study_config(compose("config", argv))

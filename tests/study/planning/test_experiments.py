"""The paper's experiments compose at both scales, and their models are those of the paper."""

import re
from typing import Any

import pytest

from study.config.command_line import compose, expanded, option_names
from study.config.parse import study_config
from study.costs.dry_run import describe
from study.planning.members import plan_members, plan_teachers
from trainables.data import data_shape
from trainables.models import count
from trainables.specs import PrunedSpec

# What the paper's data would give, for nobody has it here.
DATA = {
    "celeba_table1": ("data.size=64",),
    "celeba_table6": ("data.size=64",),
    "table8_ablation": ("data.size=64",),
    "group_size_ablation": ("data.size=64",),
    "lsun_bedroom": ("data.size=256",),
    "sd21_bksdm": ("data.size=64", "data.channels=4", "data.text=[77,1024]"),
    "imagenet_dit_table7": ("data.size=32", "data.channels=4", "data.num_classes=1000"),
    "sd3_flow": ("data.size=64", "data.channels=16", "data.text=[333,4096]", "data.pooled=2048"),
}
# Millions of parameters, as the paper and the models' own publications print them.
PARAMS = {
    "celeba_79m": 78.7,
    "celeba_20m": 19.7,
    "lsun_bedroom": 113.7,
    "sd21_base": 865.9,
    "dit_xl_2": 675.1,
    "dit_d14": 340.5,
    "sd3_medium": 2028.0,
}


def config_of(name: str, *overrides: str) -> Any:
    return study_config(compose("config", [f"+experiment={name}", *overrides]))


def test_every_experiment_is_here() -> None:
    assert set(option_names("experiment")) == set(DATA)


@pytest.mark.parametrize("name", DATA)
def test_the_miniature_composes(name: str) -> None:
    config = config_of(name, "scale=tiny")
    assert isinstance(config.student, PrunedSpec)
    assert config.student.teacher in plan_teachers(config)
    assert config.train.steps <= 4
    assert len(plan_members(config)) <= 20


@pytest.mark.parametrize("name", DATA)
def test_the_paper_scale_composes_with_the_papers_models(name: str) -> None:
    config = config_of(name, "data=generated", "data.num_images=4", *DATA[name], "dry_run=true")
    shape = data_shape(config.data)
    for spec in plan_teachers(config):
        size = count(spec.model, shape)
        if spec.name in PARAMS:
            assert size.params / 1e6 == pytest.approx(PARAMS[spec.name], rel=0.01)
        if spec.name == "dit_xl_2":
            assert size.macs / 1e9 == pytest.approx(118.7, rel=0.01)


def test_the_dry_run_says_what_the_study_takes() -> None:
    text = describe(study_config(compose("config", ["seeds=[0,1]"])))
    assert "44 members in 8 packs of 1 to 7" in text
    assert "teacher unet_160: 3,902,401 parameters, 0.1847G MACs, 379 times the student, to be trained" in text
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

"""The shipped teachers are the ones that the facts describe, and good enough to teach."""

import re
from pathlib import Path

import pytest
import torch

from study.config.command_line import compose
from study.config.parse import study_config
from study.planning.members import plan_members
from trainables.data import data_shape
from trainables.data.digits import Digits
from trainables.evaluation.evaluator import Evaluator
from trainables.models import count, count_model, load_model
from trainables.models.digest import weights_digest
from trainables.models.pretrained import fetch
from trainables.models.shipped import SHIPPED, shipped_facts, shipped_teacher
from trainables.process import PIXEL
from trainables.training.train_digits_teachers import EVALUATION, SEEDS, STEPS, WIDTHS, teacher_model

FOLDERS = sorted(shipped_facts())


def test_every_size_is_there_with_every_seed_in_at_most_8_megabytes() -> None:
    assert {(facts["name"], facts["seed"]) for facts in shipped_facts().values()} == {
        (name, seed) for name in WIDTHS for seed in SEEDS
    }
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= 8_000_000


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_teacher_is_what_the_facts_say(folder: str) -> None:
    facts = shipped_facts()[folder]
    path = shipped_teacher(facts["name"], facts["seed"])
    assert path == SHIPPED / folder
    model = load_model(path)
    assert weights_digest(model) == facts["digest"]
    assert count_model(model, data_shape(Digits())).params == facts["params"]
    assert facts["steps"] == STEPS[facts["name"]]
    config = teacher_model(facts["name"]).config
    assert {key: model.config[key] for key in config} == config  # type: ignore[union-attr, index, operator]


def test_they_can_teach_and_the_largest_is_300_times_unet_4() -> None:
    fids = [facts["fid"] for facts in shipped_facts().values()]
    assert max(fids) <= 1.5 * min(fids)
    student = study_config(compose("config", ["+experiment=digits_reference"])).student
    largest = max(facts["params"] for facts in shipped_facts().values())
    assert largest >= 300 * count(student, data_shape(Digits())).params


def test_a_study_learns_from_each_of_the_trainings_by_their_seeds() -> None:
    overrides = ["student=unet_4", "teachers=[digits_250k]", "methods=[out_kd]", "seeds=[0]"]
    config = study_config(compose("config", [*overrides, "teacher_seeds=[1,0]"]))
    assert [(one.name, one.seed, one.num_steps) for one in config.teachers] == [
        ("digits_250k", 1, 0),
        ("digits_250k", 0, 0),
    ]
    assert len({member.run_id for member in plan_members(config)}) == 2
    assert fetch(config.teachers[0]) == SHIPPED / "digits_250k-seed1" / "unet"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher_seeds=[2]"], "teacher_seeds must be among 0, 1 for the shipped teacher digits_250k but got 2"),
        (
            ["data=generated", "data.size=16"],
            "teachers must fit the data but digits_250k comes with the package for",
        ),
        (["teachers=[{name:mine,shipped:digits_1k}]"], "must be one of digits_1360k, digits_250k, digits_360k but got"),
    ],
)
def test_what_is_not_shipped_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        study_config(compose("config", ["teachers=[digits_250k]", *overrides]))


@pytest.mark.full
@pytest.mark.parametrize("folder", ["digits_250k-seed1", "digits_1360k-seed0"])
def test_a_teachers_fid_is_that_of_the_facts(folder: str, tmp_path: Path) -> None:
    facts = shipped_facts()[folder]
    measure = Evaluator(EVALUATION, Digits(), PIXEL, tmp_path, torch.device("cpu"))
    found = measure(load_model(SHIPPED / folder)).metrics
    assert found["fid"] == pytest.approx(facts["fid"], abs=0.1)

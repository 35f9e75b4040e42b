"""Code of a user's own in a config: methods, searches, data, extractors, loggers; what study.yaml may not do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from own_code import forget, own_modules

from study.check import main as check
from study.config.command_line import compose
from study.config.parse import read_study_yaml, study_config, write_study_yaml
from study.config.study import StudyConfig
from study.directory.claim import claim
from study.loggers.table import open_logger
from study.planning.arms import arms, recipe_settings, settings_member
from study.planning.members import plan_members

MINE = "{method: mine, output: 'losses_of_mine:cosine', lambda_out: 3}"
LOGGER = """
class Writer:
    def __init__(self, study, folder):
        self.study, self.folder = study, folder

    def written(self):
        return set()

    def write(self, row, curve): ...
"""
SAMPLER = (
    "from optuna.samplers import RandomSampler\n\n\ndef draw(seed, startup):\n    return RandomSampler(seed=seed)\n"
)


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path) -> Iterator[None]:
    with own_modules(tmp_path, logger=LOGGER, sampler=SAMPLER):
        yield


def config(*overrides: str) -> StudyConfig:
    return study_config(compose("config", ["teachers=[unet_16]", *overrides]))


def test_an_own_method_is_planned_beside_the_others(tmp_path: Path) -> None:
    members = plan_members(config(f"methods=[out_kd,{MINE},{{method: mine, power: 2}}]", "seeds=[0]"))
    own = [one.method for one in members if one.method.name == "mine"]
    assert [(one.output, one.lambda_out, one.settings["power"]) for one in own] == [
        ("losses_of_mine:cosine", 3, 1.0),
        ("losses_of_mine:cosine", 1.0, 2),
    ]
    ids = {one.run_id for one in members}
    source = tmp_path / "losses_of_mine.py"
    source.write_text(source.read_text() + "\n")
    forget()
    again = {
        one.run_id for one in plan_members(config(f"methods=[out_kd,{MINE},{{method: mine, power: 2}}]", "seeds=[0]"))
    }
    assert len(ids & again) == 1  # out_kd


def test_an_own_method_is_searched_over_its_own_settings_and_by_default_over_lambda_out(tmp_path: Path) -> None:
    tuned = ["protocol=search", "protocol.methods=[mine]", f"methods=[{MINE}]", "protocol.teachers=null"]
    (arm,) = arms(config(*tuned))
    assert arm.space.names == ("lambda_out",)
    space = tmp_path / "mine.yaml"
    space.write_text(
        "lambda_out: {kind: float, low: 0.1, high: 10, log: true}\npower: {kind: float, low: 0.5, high: 2}\n"
    )
    found = config(*tuned, f"search_space={space}", "protocol.sampler=sampler_of_mine:draw")
    (arm,) = arms(found)
    assert recipe_settings(found, arm) == {"lambda_out": 1.0, "power": 1.0}
    assert settings_member(found, arm, {"lambda_out": 2.0, "power": 0.5}, 0).method.settings["power"] == 0.5
    space.write_text("sharpness: {kind: float, low: 0.5, high: 2}\n")
    with pytest.raises(
        ValueError, match=r"search_space.sharpness of mine is not a setting of mine; allowed: .*, power"
    ):
        config(*tuned, f"search_space={space}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods=[mine]", "method must be one of .* but got 'mine'"),
        ("methods=[{method: mine, output: 'losses_of_mine:sine'}]", "has no 'sine'"),
        ("methods=[{method: out_kd, output: 'losses_of_mine:cosine'}]", "out_kd has its losses"),
        ("methods=[{method: ../mine, output: 'losses_of_mine:cosine'}]", "methods.method must be a name"),
        (
            f"methods=[{MINE},{{method: mine, output: 'losses_of_mine:of_batch'}}]",
            "mine must have one output and one feature loss but is defined in two ways",
        ),
        ("evaluation.feature_extractor=features_of_mine:None_such", "has no 'None_such'"),
        ("loggers=['losses_of_mine:nothing']", "has no 'nothing'"),
        ("data.source=losses_of_mine:cosine", "must be a dataclass with a method load"),
        ("student.model_class=losses_of_mine:cosine", "must be a Family of trainables.families"),
    ],
)
def test_what_is_wrong_with_own_code_is_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        config(override)
    assert "\n" not in str(raised.value)


def test_own_data_takes_its_own_keys() -> None:
    own = ["data.source=data_of_mine:Stripes", "data.width=2", "evaluation.feature_extractor=features_of_mine:Net"]
    found = config(*own, "data.name=lines")
    assert found.data.name == "lines"
    assert [path.name for path in found.own_code] == ["data_of_mine.py", "features_of_mine.py"]
    assert config(*own, "+data.number=64").data.identity() != config(*own).data.identity()


def test_an_own_logger_is_made_of_the_study_and_a_folder(tmp_path: Path) -> None:
    assert config("loggers=['logger_of_mine:Writer']").loggers == ("logger_of_mine:Writer",)
    logger = open_logger("logger_of_mine:Writer", "a", tmp_path)
    assert logger.study == "a"
    assert logger.folder == tmp_path / "loggers" / "logger_of_mine.Writer"


def test_study_yaml_imports_code_only_where_the_user_says_so(tmp_path: Path) -> None:
    cfg = compose("config", [f"study_dir={tmp_path / 'study'}", "teachers=[unet_16]", f"methods=[{MINE}]"])
    (tmp_path / "study").mkdir()
    claim(tmp_path / "study")
    write_study_yaml(cfg, tmp_path / "study")
    with pytest.raises(ValueError, match=r"study.yaml names methods.output=losses_of_mine:cosine, .* plugins=true"):
        read_study_yaml(tmp_path / "study")
    assert read_study_yaml(tmp_path / "study", plugins=True).methods[0].name == "mine"


def test_check_says_what_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(["losses_of_mine:cosine", "power=2"]) == 0
    assert "ok    two ranks equal one" in capsys.readouterr().out
    assert check(["losses_of_mine:of_batch"]) == 1
    assert "FAIL  two ranks equal one" in capsys.readouterr().out
    for wrong in ([], ["losses"], ["power=1"]):
        with pytest.raises(ValueError, match="check takes one module:name"):
            check(wrong)

"""The plan that a sweep leaves for study.status: the same study, read without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from study.config.command_line import compose
from study.config.parse import read_study_yaml, study_config, write_study_yaml
from study.directory.claim import claim
from study.planning.plan_file import NAME, read_plan, write_plan

GRID = ("teachers=[unet_16,digits_250k]", "methods=[out_kd,lift_place]", "seeds=[0,1]", "loggers=[tensorboard]")
PRUNED = ("teachers=[unet_16]", "student=diff_pruned", "student.teacher=unet_16", "methods=[out_kd]")
TUNED = ("protocol=tuned", "teachers=[unet_16]", "protocol.num_trials=4", "protocol.trials_per_round=2")
OWN = ("teachers=[unet_16]", "methods=[{method: mine, output: 'own_losses:cosine'}]")
LOADED = """
import sys
from study.status import main
assert main(sys.argv[1:]) == 0
print(*{"torch", "diffusers", "ray"} & set(sys.modules), sep="\\n")
"""


def planned(study_dir: Path, *overrides: str) -> None:
    cfg = compose("config", [f"study_dir={study_dir}", *overrides])
    study_dir.mkdir()
    claim(study_dir)
    write_study_yaml(cfg, study_dir)
    write_plan(study_config(cfg))


@pytest.mark.parametrize("overrides", [GRID, PRUNED, TUNED], ids=["grid", "pruned", "tuned"])
def test_it_is_the_study_that_study_yaml_describes(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    planned(tmp_path / "study", *overrides)
    (tmp_path / "study").rename(tmp_path / "moved")
    assert read_plan(tmp_path / "moved") == read_study_yaml(tmp_path / "moved")


def test_beside_another_study_yaml_it_is_nothing(tmp_path: Path) -> None:
    planned(tmp_path / "study", *GRID)
    path = tmp_path / "study" / "study.yaml"
    path.write_text(path.read_text().replace("steps: 500", "steps: 501"))
    assert read_plan(tmp_path / "study") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"study_yaml": 1, "config": {"is": "os.system", "has": "true"}}'])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, content: str) -> None:
    planned(tmp_path / "study", *GRID)
    (tmp_path / "study" / NAME).write_text(content)
    assert read_plan(tmp_path / "study") is None


def test_code_of_a_user_is_in_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_losses.py").write_text(
        "def cosine(student, teacher):\n    return (student - teacher).square().mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    planned(tmp_path / "study", *OWN)
    assert not (tmp_path / "study" / NAME).exists()


@pytest.mark.parametrize("overrides", [GRID, TUNED], ids=["grid", "tuned"])
def test_status_loads_no_torch(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    planned(tmp_path / "study", *overrides)
    command = [sys.executable, "-c", LOADED, f"study_dir={tmp_path / 'study'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    _, _, loaded = done.stdout.partition("status.html\n")
    assert loaded.strip() == ""

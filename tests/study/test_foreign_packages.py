"""A folder of another program that has the name of one of ours: one line says which and what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import study

ROOT = Path(study.__file__).parents[1]


def run(*command: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, env=environment, timeout=120
    )


@pytest.mark.parametrize("name", ["analysis", "storage", "study"])
@pytest.mark.parametrize("is_module", [False, True])
def test_what_is_found_first_is_named(tmp_path: Path, name: str, is_module: bool) -> None:
    file = tmp_path / f"{name}.py" if is_module else tmp_path / name / "__init__.py"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    done = run("-m", "kd_study", "cancel", "study_dir=x", path=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the package {name} of kd-study is {ROOT / name}, but {tmp_path / name}")
    assert "rename that" in line


def test_python_m_says_so_too(tmp_path: Path) -> None:
    (tmp_path / "analysis.py").touch()
    done = run("-m", "study.cancel", "study_dir=x", path=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert str(tmp_path / "analysis.py") in done.stderr


def test_a_script_of_ones_own_gets_an_exception(tmp_path: Path) -> None:
    (tmp_path / "analysis.py").touch()
    done = run("-c", "import study", path=tmp_path)
    assert "ImportError: the package analysis of kd-study" in done.stderr


def test_folders_without_code_are_in_nobodys_way(tmp_path: Path) -> None:
    for name in ("study", "analysis"):
        (tmp_path / name).mkdir()
    done = run("-m", "kd_study", "cancel", "study_dir=x", path=tmp_path)
    assert done.stderr == "error: study_dir must be a study's directory but x is not there\n"

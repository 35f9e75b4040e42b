"""kd-study and its sub-commands."""

import subprocess
import sys
from pathlib import Path

import pytest

import study
from study.__main__ import COMMANDS


def kd_study(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(autouse=True)
def _own_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(study.__file__).parents[1]))


def test_without_a_command_it_lists_them() -> None:
    done = kd_study()
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_a_sub_command_is_the_module_of_its_name() -> None:
    done = kd_study("cancel", "study_dir=nowhere")
    assert done.returncode == 2
    assert done.stderr == "error: study_dir must be a study's directory but nowhere is not there\n"


def test_help_says_what_a_command_does_and_its_exit_codes() -> None:
    done = kd_study("status", "--help")
    assert done.returncode == 0
    assert "what is done and what is left" in done.stdout
    assert "Exit codes: 0 done" in done.stdout

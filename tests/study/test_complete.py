"""What a shell is offered."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.complete import main, words


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("kd-study st", ["status "]),
        ("kd-study  rep", ["report "]),
        ("kd-study sweep train.lr", ["train.lr=", "train.lr_schedule="]),
        ("kd-study sweep seeds=0-3 data=d", ["digits "]),
        ("kd-study sweep scale=", ["paper ", "tiny "]),
        ("kd-study sweep +experiment=celeba", ["celeba_table1 ", "celeba_table6 "]),
        ("kd-study sweep teachers=[digits_2", ["[digits_250k]"]),
        ("kd-study report exa", ["example="]),
        ("kd-study status watch", ["watch_seconds="]),
        ("kd-study status x=", []),
        ("kd-study bench p", []),
        ("kd-study nothing x", []),
    ],
)
def test_the_last_word_is_completed(line: str, offered: list[str]) -> None:
    assert words(line) == offered


def test_files_and_studies_of_the_folder_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    (tmp_path / "studies" / "mine" / "study.yaml").touch()
    (tmp_path / "my.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert words("kd-study sweep my") == ["my.yaml "]
    assert words("kd-study status study_dir=") == ["studies/mine "]


def test_a_shell_calls_it(tmp_path: Path) -> None:
    """As bash does with complete -C: the line in the environment, the command and two words as arguments."""
    line = "kd-study sweep data=m"
    given = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = (sys.executable, "-X", "importtime", "-m", "study", "complete", "kd-study", "m", "=")
    done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, check=True)
    assert done.stdout == "mnist \n"
    assert " torch\n" not in done.stderr  # which would take seconds


def test_without_a_shell_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMP_LINE", raising=False)
    with pytest.raises(ValueError, match="complete -o nospace -C"):
        main([])

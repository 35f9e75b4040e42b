"""Each way in which a command that trains can end has its exit code, its sentence, and the command to go on."""

import errno
import os
from typing import NoReturn

import pytest

from study import teachers
from study.directory.lease import LostLeaseError
from study.execution import machine
from study.execution.ending import ended
from study.execution.run_packs import BudgetSpentError

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted: "),
        (BudgetSpentError("2 hours"), 3, "stopped: 2 hours\n"),
        (RuntimeError("a member failed"), 1, "failed: a member failed\n"),
        (FULL, 1, "failed: the disk of the study is full ("),
        (LostLeaseError("/a is not there any more"), 1, "failed: /a is not there any more\n"),
    ],
)
def test_an_end_is_said(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> NoReturn:
        raise error

    assert ended(work, "the command") == code
    lines = capsys.readouterr().err.lstrip("\n")
    assert lines.startswith(said)
    assert ("finished members are kept" in lines) == (not isinstance(error, LostLeaseError))
    assert lines.endswith("run the same command again to go on:\n  the command\n")


def test_what_is_not_foreseen_keeps_its_traceback() -> None:
    def work() -> NoReturn:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        ended(work, "the command")


def test_interrupted_teachers_say_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "require_machine", interrupted)
    assert teachers.main(["study=mine"]) == 130
    assert "python -m study.teachers study=mine" in capsys.readouterr().err

"""Ray's token is made for its user alone."""

import os
import stat
from pathlib import Path

import pytest

from study.execution.machine import keep_token_private


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_with_0600_in_0700(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = os.umask(0)
    try:
        keep_token_private()
    finally:
        os.umask(before)
    token = home / ".ray" / "auth_token"
    assert (mode(token), mode(token.parent), len(token.read_text())) == (0o600, 0o700, 64)
    keep_token_private()
    assert capsys.readouterr().err == ""


def test_one_that_others_can_read_is_kept_and_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("known")
    token.chmod(0o644)
    keep_token_private()
    assert f"warning: {token} can be read by other users" in capsys.readouterr().err
    assert token.read_text() == "known"


def test_a_token_of_the_environment_needs_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    keep_token_private()
    assert not (home / ".ray").exists()

"""What a machine lacks is said in one line before anything is started."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from study.config.study import LOCAL
from study.execution import machine
from study.execution.machine import own_session, remove_dead_sessions, require_machine


def sweep(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study.sweep", f"study_dir={tmp_path / 'study'}", "seeds=[0]"]
    known = {**os.environ, "RAY_AUTH_TOKEN": "0" * 64, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=known)


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_terminal_of_ascii_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    done = sweep(tmp_path, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the encoding of standard output is ")
    assert done.stderr.endswith("set PYTHONUTF8=1\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "study").exists()


def test_a_folder_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    done = sweep(tmp_path, TMPDIR=str(folder))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: TMPDIR={folder} is too long for Ray's sockets (")
    assert "set RAY_TMPDIR to a folder whose path has at most 39 bytes" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "_SHARED_BYTES", 0)


@pytest.mark.usefixtures("fits")
def test_the_longest_folder_that_fits_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for length, refused in ((39, False), (40, True)):
        link = Path("/tmp") / ("x" * (length - 5))
        link.symlink_to(tmp_path)
        monkeypatch.setenv("RAY_TMPDIR", str(link))
        try:
            if refused:
                with pytest.raises(ValueError, match="too long"):
                    require_machine(LOCAL)
            else:
                require_machine(LOCAL)
        finally:
            link.unlink()


@pytest.mark.usefixtures("fits")
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    with pytest.raises(ValueError, match=r"HOME=/proc/nowhere cannot be written \(.*\): set HOME to a folder"):
        require_machine(LOCAL)
    require_machine("auto")  # the cluster has its own
    monkeypatch.setenv("HOME", str(tmp_path))
    require_machine(LOCAL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("fits")
def test_little_shared_memory_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    require_machine(LOCAL)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(machine, "_SHARED_BYTES", 10**18)
    require_machine(LOCAL)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: /dev/shm has ")
    assert "--shm-size=1g" in line


SESSION = "session_2026-01-31_23-59-59_999999_{}"
MAKE = "import sys, pathlib; from study.execution.machine import own_session; own_session(pathlib.Path(sys.argv[1]))"


def test_the_sessions_of_killed_sweeps_are_removed_and_no_other(tmp_path: Path) -> None:
    dead, used, alive, of_ray, linked, other = (tmp_path / SESSION.format(number) for number in range(6))
    for folder in (dead, used, alive, of_ray, tmp_path / "elsewhere", tmp_path / "session_mine"):
        folder.mkdir()
    linked.symlink_to(tmp_path / "elsewhere")
    subprocess.run([sys.executable, "-c", MAKE, str(dead)], check=True, timeout=120)  # it is gone
    for folder in (used, tmp_path / "elsewhere", tmp_path / "session_mine"):
        shutil.copy(dead / "kd-study-owner.json", folder)
    own_session(alive)
    other.mkdir()
    (other / "kd-study-owner.json").symlink_to(dead / "kd-study-owner.json")
    holding = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)", f"--log_dir={used}/logs"]
    with subprocess.Popen(holding, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # before it has begun, its command line may not be there yet
        remove_dead_sessions(tmp_path)
        process.kill()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*(path.name for path in (used, alive, of_ray, linked, other)), "elsewhere", "session_mine"}
    assert list((tmp_path / "elsewhere").iterdir())

"""How an entry point ends when its reader or its terminal goes away."""

import signal
import subprocess
import sys

import pytest

LONG = "print('x\\n' * 100_000); return 0"
WAIT = "try:\n        print('ready', flush=True); time.sleep(30)\n    except KeyboardInterrupt:\n        return 130"
CODE = "import time\nfrom study.config.command_line import entry_point\ndef main(argv):\n    {}\nentry_point(main)"


def test_a_reader_that_ends_early_gets_no_traceback() -> None:
    command = [sys.executable, "-c", CODE.format(LONG)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "x\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_what_stops_a_job_is_an_interruption(number: signal.Signals) -> None:
    heard = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # the tests may run under nohup
    command = [sys.executable, "-c", heard + CODE.format(WAIT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(timeout=60) == 130


def test_a_sweep_under_nohup_outlives_its_terminal() -> None:
    ignored = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    ignoring = ignored + CODE.format(WAIT.replace("30", "1") + "\n    return 0")
    command = [sys.executable, "-c", ignoring]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 0


IMPORTING = "import os, signal, sys; sys.argv = ['-m']; import study; os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize("code", [IMPORTING, CODE.format("raise KeyboardInterrupt")], ids=["importing", "at work"])
def test_ctrl_c_is_one_line(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")

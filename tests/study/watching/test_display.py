"""The line that says how far a sweep is."""

import io
import sys

import pytest

from study.watching.display import STARTING, Display


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_it_is_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    display = Display(1000, 600.0, clock=clock)
    for done in (0, 0, 100, 200, 400, 1000):
        display.show(done, f"packs {done // 500}/2")
        clock.now += 25
    display.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"  0% {STARTING} [00:00<10:00] packs 0/2",
        " 20% packs 0/2 [01:15<03:20]",
        "100% packs 2/2 [02:30<00:00]",
    ]


def test_what_is_left_follows_from_the_pace_and_before_that_from_the_throughput() -> None:
    clock = Clock()
    display, blind = Display(100, 50.0, clock=clock), Display(100, clock=clock)
    clock.now += 20  # workers are started
    assert (display.seconds_left(0), blind.seconds_left(0)) == (30.0, None)
    display.show(10, "")
    clock.now += 10
    assert display.seconds_left(20) == 80.0  # ten in ten seconds, whatever the start took


def test_on_a_terminal_of_80_columns_the_line_fits_and_ends_with_all_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    display = Display(77_000)
    display.show(0, "teachers 0/3, packs 0/150, members 0/1100")
    display.show(77_000, "teachers 3/3, packs 150/150, members 1100/1100")
    display.close()
    shown = [line for line in terminal.getvalue().replace("\n", "\r").split("\r") if line.strip()]
    assert all(len(line) <= 80 for line in shown)
    assert STARTING in "".join(shown)
    assert "100%" in shown[-1]
    assert "packs 150/150, members 1100/1100" in shown[-1]

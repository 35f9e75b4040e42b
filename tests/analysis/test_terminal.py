"""Tables and lines fit 80 columns, and lose nothing."""

import sys

import pytest

from analysis.terminal import columns, folded


def test_a_table_that_fits_is_as_wide_as_its_cells() -> None:
    assert columns([("name", "n"), ("a", "10")], right={1}) == ["name   n", "a     10"]


def test_long_cells_go_on_in_the_next_line_between_words() -> None:
    tries = " ".join(f"{number}.25" for number in range(10, 30))
    lines = columns([("method", "tries", "mean"), ("lift_place_feat", tries, "20.00")], right={2})
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[0] == "lift_place_feat"
    assert lines[1].endswith("20.00")
    assert " ".join(" ".join(lines[1:]).split()).replace(" 20.00", "", 1).split()[1:] == tries.split()


def test_a_name_that_is_longer_than_the_terminal_is_cut_and_kept() -> None:
    lines = columns([("a" * 200, "b")])
    assert max(map(len, lines)) <= 80
    assert "".join(lines).count("a") == 200


def test_a_terminal_is_given_folded_lines_and_a_file_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "short\n" + " ".join(["word"] * 30) + " /a/path/" + "x" * 90
    assert folded(text) == text
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    first, *rest = folded(text).splitlines()
    assert first == "short"
    assert len(rest) == 3
    assert all(len(line) <= 80 for line in rest[:2])
    assert rest[2].endswith("/a/path/" + "x" * 90)
    assert " ".join(" ".join(rest).split()) == text.splitlines()[1]

"""The steps of the paper's networks in miniature: the same way, with the smallest teachers of each kind."""

from pathlib import Path

import pytest

from study.benchmarks import paper
from study.config.options import option_names
from study.costs.model import Counts
from trainables import data

OWN = {"digits_reference", "digits_search", "mnist_pair"}  # experiments that are not of the paper
DIT = "imagenet_dit_table7"
SMALL = ("teachers=[tiny_dit,tiny_dit_half]", "student.teacher=tiny_dit_half", "student.pruning.num_layers=2")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """DiT of latents with classes, as the paper's; what belongs to a process of its own is undone."""
    sources = dict(data.SOURCES)
    monkeypatch.setattr(data, "SOURCES", sources)
    monkeypatch.setattr(paper, "SOURCES", sources)
    monkeypatch.setitem(paper.EXPERIMENTS, DIT, (*paper.EXPERIMENTS[DIT], *SMALL))


def test_every_experiment_of_the_paper_has_its_step() -> None:
    assert {name.split()[0] for name in paper.EXPERIMENTS} == set(option_names("experiment")) - OWN


@pytest.mark.usefixtures("small")
def test_a_step_on_latents_ends_in_a_row_of_every_teacher() -> None:
    row = paper.one_step(DIT)
    assert row["outcome"] == "ok"
    assert (row["experiment"], row["batch_size"], row["records"]) == (DIT, 1, 2)
    assert {one.split(":")[0] for one in row["teachers"].split()} == {"tiny_dit", "tiny_dit_half"}
    assert row["student_params"] > 0
    assert row["student_macs"] > 0


@pytest.mark.usefixtures("small")
def test_what_the_memory_cannot_hold_says_so_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = paper.smallest(DIT, tmp_path)
    counts = Counts.of(config)
    largest = max(size.params for size in counts.teachers.values())
    need = paper.needed_bytes(config, counts)
    assert need >= 4 * 6 * largest  # in training, with its EMA as a model
    monkeypatch.setattr(paper, "_free_bytes", lambda: need - 1)
    monkeypatch.setattr(paper, "_make", lambda *_: pytest.fail("a teacher was made"))
    assert paper.one_step(DIT)["outcome"].startswith("not held: ")


@pytest.mark.full
def test_an_experiment_that_fails_says_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "EXPERIMENTS", {"no_such_experiment": ()})
    row = paper.run(None).rows[0]  # type: ignore[arg-type]
    assert row["experiment"] == "no_such_experiment"
    assert "no_such_experiment" in row["outcome"]

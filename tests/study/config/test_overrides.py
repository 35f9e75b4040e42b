"""What a user types: values that need quotes, forms of lists, a study's own file, and what is said of mistakes."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study import init
from study.config.command_line import compose
from study.config.overrides import in_grammar, readable


@pytest.mark.parametrize("path", ["/tmp/a=b", "/tmp/a (c)", "/tmp/ä ö", "it's", "a\\", "a#b", "x{y", "C:\\a b"])
def test_a_path_is_taken_as_it_is_written(path: str) -> None:
    assert compose("config", [f"study_dir={path}"]).study_dir == path


def test_a_leading_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert compose("config", ["study_dir=~/a b"]).study_dir == "/home/me/a b"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$"), min_size=1))
@settings(max_examples=20, deadline=None)
def test_every_text_is_said_in_the_grammar(text: str) -> None:
    assert compose("cancel", [f"study_dir={in_grammar(text)}"]).study_dir == text


@pytest.mark.parametrize("form", ["range(3)", "0-2", "[0,1,2]", "range(0, 3)"])
def test_seeds_are_a_list_in_three_forms(form: str) -> None:
    cfg = compose("config", [f"seeds={form}", f"teacher_seeds={form}"])
    assert (cfg.seeds, cfg.teacher_seeds) == ([0, 1, 2], [0, 1, 2])


def test_a_file_is_overrides_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(
        "study: mine\nseeds: 0-1\ndata: folder\ndata.path: '/tmp/a=b (c)'\ntrain: {steps: 7, lr: 1e-3}\n"
        "methods: [out_kd, {method: lift_place, group_size: 4}]\nsearch_space: {lift: x}\n"
    )
    cfg = compose("config", [str(tmp_path / "my.yaml"), "train.steps=9", "data.size=8"])
    assert (cfg.study, cfg.study_dir, list(cfg.seeds)) == ("mine", "studies/mine", [0, 1])
    assert (cfg.data.source, cfg.data.path, cfg.data.size) == ("folder", "/tmp/a=b (c)", 8)
    assert (cfg.train.steps, cfg.train.lr) == (9, 1e-3)
    assert cfg.methods[1] == {"method": "lift_place", "group_size": 4}
    assert cfg.search_space == {"lift": "x"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- a\n", "must map keys to values"),
        ("a: [\n", "is not YAML"),
        ("trian.steps: 3\n", "did you mean train.steps"),
        ("data: foldr\n", "did you mean folder"),
        (None, "kd-study init"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "my.yaml").write_text(content)
    with pytest.raises(ValueError, match=said) as refused:
        compose("config", [str(tmp_path / "my.yaml")])
    assert "\n" not in str(refused.value)


def test_init_writes_a_file_that_is_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert init.main(["my.yaml"]) == 0
    cfg = compose("config", ["my.yaml"])
    assert (cfg.study, list(cfg.seeds), cfg.train.steps) == ("my", [0, 1, 2], 500)
    with pytest.raises(ValueError, match="is there already"):
        init.main(["my.yaml"])


def test_the_examples_in_a_new_file_can_be_uncommented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    init.main(["my.yaml"])
    text = Path("my.yaml").read_text()
    shown = re.findall(r"^# ([a-z_.]+: .*)$", text, flags=re.MULTILINE)
    assert len(shown) > 8
    Path("all.yaml").write_text("\n".join(shown))
    cfg = compose("config", ["all.yaml"])
    assert (cfg.data.size, cfg.cluster.address, cfg.evaluation.feature_extractor) == (32, "auto", "inception")


WRONG = [
    (
        "train.stps=3",
        "train.stps is not a key of the config; allowed: steps, batch_size, .*; did you mean train.steps?",
    ),
    ("data=folder data.pth=x", "data.pth is not a key .*; allowed: source, name, path, .*; did you mean data.path?"),
    ("data.path=/x", "data.path is a key of data=celeba, data=folder, .*, none of which is chosen"),
    ("seeds=0,1,2", "seeds takes one value but got 0,1,2: a list is 'seeds=[0,1,2]', a text .* 'seeds=\"0,1,2\"'"),
    ("--dry-run", "--dry-run is not an option; .*; did you mean dry_run=true?"),
    ("-m", "-m is not an option; .*; the options are --help and --cfg"),
    ("experiment=celeba_table6", "experiment is not in the config yet: +experiment=... adds it"),
    ("+experiment=celeba_tabel6", "+experiment must be one of .* but got 'celeba_tabel6'; did you mean celeba_table6?"),
    ("data=foldr", "data must be one of .* but got 'foldr'; did you mean folder?"),
    ("train", "'train' is not an override of the form key=value"),
    ("methods=[lift_place,", "'methods=[lift_place,' is not an override .*: 'key=[\"a (text)\"]'"),
    ("evaluation.sampler.x=1", "evaluation.sampler.x is not a key of the config; .*; did you mean evaluation.sampler?"),
    ("nowhere.yaml", "nowhere.yaml is not there; kd-study init nowhere.yaml writes one"),
    ("a.yaml b.yaml", "at most one file of a study can be given but got a.yaml, b.yaml"),
]


@pytest.mark.parametrize(("typed", "said"), WRONG, ids=[typed for typed, _ in WRONG])
def test_a_wrong_override_is_one_helpful_line(typed: str, said: str) -> None:
    assert message(shlex.split(typed)) == said or matches(said, message(shlex.split(typed)))


def message(argv: Sequence[str]) -> str:
    with pytest.raises(ValueError, match=r"but|not|names|takes|is a key") as refused:
        compose("config", argv)
    return str(refused.value)


def matches(said: str, text: str) -> bool:
    pattern = ".*".join(map(re.escape, said.split(".*")))
    assert re.fullmatch(pattern, text), text
    return True


def test_what_hydra_reads_is_left_alone() -> None:
    for argument in ("train.steps=1e3", "methods=[a,{method:b}]", "+x=1", "~seeds", "study='a b'", "x=${study}"):
        assert readable(argument) == argument

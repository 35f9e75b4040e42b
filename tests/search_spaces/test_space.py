"""Search spaces: what ships, conditions, and what is refused by name."""

from pathlib import Path

import optuna
import pytest

from search_spaces import contains, load_space, merge, num_settings, suggest
from search_spaces.reader import space_names


def write(folder: Path, text: str, name: str = "space.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", space_names())
def test_every_shipped_space_suggests_what_it_contains(name: str) -> None:
    space = load_space(name, num_elements=64)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        assert contains(space, suggest(study.ask(), space))


@pytest.mark.parametrize(("num_elements", "sizes"), [(64, (4, 8, 16, 32, 64)), (36, (4, 6, 9, 12, 18, 36))])
def test_group_size_is_searched_over_the_divisors(num_elements: int, sizes: tuple[int, ...]) -> None:
    space = load_space("lift_place", num_elements=num_elements)
    group_size = next(one for one in space.parameters if one.name == "group_size")
    assert group_size.distribution.choices == sizes


def test_lift_place_searches_what_the_issue_lists() -> None:
    names = load_space("lift_place", num_elements=64).names
    assert set(names) == {"group_size", "lambda_out", "coarse_norm", "gate", "eps"}


def test_a_condition_decides_whether_a_setting_is_asked_for(tmp_path: Path) -> None:
    text = "gate: {kind: categorical, choices: [adaptive, constant]}\n"
    text += "eps: {kind: float, low: 1.0e-9, high: 1.0e-3, log: true, when: {gate: adaptive}}\n"
    space = load_space(write(tmp_path, text), num_elements=64)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(30):
        settings = suggest(study.ask(), space)
        assert ("eps" in settings) == (settings["gate"] == "adaptive")
        assert contains(space, settings)
        seen.add(settings["gate"])
    assert seen == {"adaptive", "constant"}
    assert not contains(space, {"gate": "constant", "eps": 1e-7})
    assert not contains(space, {"gate": "adaptive"})


def test_a_file_includes_others_and_may_replace_their_settings(tmp_path: Path) -> None:
    write(tmp_path, "lambda_out: {kind: float, low: 1, high: 2}\neps: {kind: float, low: 0, high: 1}\n", "base.yaml")
    path = write(tmp_path, "include: [base.yaml, feat_kd]\nlambda_out: {kind: float, low: 3, high: 4}\n")
    space = load_space(path, num_elements=64)
    assert space.names == ("lambda_out", "eps", "lambda_feat")
    assert space.parameters[0].distribution.low == 3


def test_how_many_settings_a_space_holds(tmp_path: Path) -> None:
    text = "group_size: {kind: divisor, low: 4}\nx: {kind: int, low: 1, high: 9, step: 4}\n"
    assert num_settings(load_space(write(tmp_path, text), num_elements=64)) == 15
    assert num_settings(load_space("out_kd", num_elements=64)) == float("inf")


BAD = [
    ("[]", "must map settings"),
    ("{}", "at least one setting"),
    ("a: {kind: normal}", r"search_space\.a\.kind must be one of categorical, float, int, divisor but got 'normal'"),
    ("a: 3", r"search_space\.a\.kind"),
    ("a: {kind: float, low: 0}", r"search_space\.a of kind float takes high, log, low, step but got low"),
    ("a: {kind: float, low: 0, high: 1, base: 2}", "base"),
    ("a: {kind: float, low: 5.0, high: 0.05}", r"search_space\.a\.low must be at most high \(0\.05\) but got 5\.0"),
    ("a: {kind: float, low: text, high: 1}", r"search_space\.a\.low must be a number but got 'text'"),
    ("a: {kind: float, low: '1e-8', high: 1}", r"search_space\.a\.low must be a number but got '1e-8'"),
    ("a: {kind: float, low: .nan, high: 1}", r"search_space\.a\.low"),
    ("a: {kind: int, low: 0.5, high: 1}", r"search_space\.a\.low must be a whole number but got 0\.5"),
    ("a: {kind: float, low: 0, high: 1, log: true}", r"search_space\.a\.low must be above 0 where log"),
    ("a: {kind: float, low: 0, high: 1, log: 3}", r"search_space\.a\.log must be true or false"),
    (
        "a: {kind: int, low: 1, high: 8, log: true, step: 2}",
        r"search_space\.a of kind int must be a distribution of Optuna",
    ),
    ("a: {kind: categorical, choices: []}", r"search_space\.a\.choices"),
    ("a: {kind: categorical, choices: [l1, l1]}", r"search_space\.a\.choices must be a list of different"),
    ("a: {kind: divisor, low: 65}", r"search_space\.a must leave a divisor of H\*W = 64"),
    ("a: {kind: float, low: 0, high: 1, when: b}", r"search_space\.a\.when must map"),
    ("a: {kind: float, low: 0, high: 1, when: {b: 1}}", r"search_space\.a\.when must name a categorical"),
    (
        "b: {kind: categorical, choices: [l1]}\na: {kind: float, low: 0, high: 1, when: {b: l2}}",
        r"search_space\.a\.when\.b must be among l1 but got 'l2'",
    ),
    ("include: out_kd", "include must be a list"),
    ("include: [nowhere]", "must be one of .*out_kd.* but got 'nowhere'"),
    ("include: [space.yaml]", "includes itself"),
    ("a: {", "cannot be read"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text for text, _ in BAD])
def test_a_bad_space_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_space(write(tmp_path, text), num_elements=64)


def test_a_setting_of_both_a_space_and_the_shared_one_is_refused() -> None:
    space = load_space("diffusion_only", num_elements=64)
    with pytest.raises(ValueError, match=r"search_space\.train\.lr is in diffusion_only and in .*optimiser"):
        merge(space, load_space("optimiser", num_elements=64))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-7", 1e-7),
        ("1E-7", 1e-7),
        ("-1e-7", -1e-7),
        ("+1.5e3", 1500.0),
        ("2.e4", 2e4),
        (".5e-3", 5e-4),
        ("1e5", 1e5),
    ],
)
def test_numbers_of_yaml_1_2_are_numbers(text: str, value: float, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        f"a: {{kind: float, low: {text}, high: 1.0e+9}}\n"
        f"b: {{kind: categorical, choices: [{text}, 1e, e5, 0x1e5]}}\n"
        f"c: {{kind: int, low: 1, high: 3, when: {{b: {text}}}}}\n"
    )
    a, b, c = load_space(str(tmp_path / "s.yaml"), num_elements=64).parameters
    assert a.distribution.low == value  # type: ignore[attr-defined]
    assert b.distribution.choices == (value, "1e", "e5", 0x1E5)  # type: ignore[attr-defined]
    assert c.when == {"b": (value,)}

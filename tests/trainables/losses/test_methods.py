"""A method is a row of the table; its settings are those that apply to it, and bad ones are named."""

import pytest

from trainables.losses.methods import METHODS, SETTINGS, Method, make_method

RECIPE = {
    "lambda_diff": 1.0,
    "lambda_out": 0.5,
    "lambda_feat": 1e-6,
    "group_size": 16,
    "coarse_norm": "l1",
    "gate": "adaptive",
    "eps": 1e-7,
    "reduction": "sum",
}
LINE_SETTINGS = ("group_size", "coarse_norm", "gate", "eps")


def test_the_table_has_the_methods_of_pixel_unets() -> None:
    assert {name: (method.output, method.feature) for name, method in METHODS.items()} == {
        "diffusion_only": ("none", "none"),
        "out_kd": ("mse", "none"),
        "feat_kd": ("none", "fitnet"),
        "out_feat_kd": ("mse", "fitnet"),
        "dist": ("dist", "none"),
        "lift": ("lift", "none"),
        "lift_place": ("lift_place", "none"),
        "lift_feat": ("lift", "fitnet"),
        "lift_place_feat": ("lift_place", "fitnet"),
    }


@pytest.mark.parametrize("name", METHODS)
def test_settings_that_do_not_apply_are_none(name: str) -> None:
    method = make_method(name, RECIPE, num_elements=64)
    applies = {
        "lambda_out": method.output != "none",
        "lambda_feat": method.feature != "none",
        **dict.fromkeys(LINE_SETTINGS, method.output in ("lift", "lift_place")),
    }
    for key, wanted in applies.items():
        expected = RECIPE[key] if wanted else None
        if key == "group_size" and method.output == "lift":
            expected = 64  # one group: LIFT without PLACE
        assert getattr(method, key) == expected
    assert (method.name, method.lambda_diff, method.reduction) == (name, 1.0, "sum")
    assert method.needs_teacher == (name != "diffusion_only")
    assert method.fits_lines == applies["group_size"]


def test_a_setting_that_does_not_apply_does_not_make_another_method() -> None:
    other = RECIPE | {"group_size": 4, "coarse_norm": "l2", "gate": "linear"}
    assert make_method("out_kd", RECIPE, num_elements=64) == make_method("out_kd", other, num_elements=64)
    assert make_method("lift_place", RECIPE, num_elements=64) != make_method("lift_place", other, num_elements=64)


def test_every_setting_reaches_the_method() -> None:
    chosen = {
        "lambda_diff": 0.1,
        "lambda_out": 0.9,
        "lambda_feat": 1e-2,
        "group_size": 8,
        "coarse_norm": "l2",
        "gate": "cosine",
        "eps": 0.0,
        "reduction": "mean",
        "feature": "masked",
        "feat_schedule": "linear",
    }
    assert set(chosen) == set(SETTINGS)
    assert make_method("lift_place_feat", chosen, num_elements=64) == Method(
        name="lift_place_feat", output="lift_place", **chosen
    )


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match=r"method must be one of diffusion_only, .*, lift_place_feat but got 'lif'"):
        make_method("lif", RECIPE, num_elements=64)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ValueError, match=r"method.groups is not a setting of a method; allowed: .*group_size"):
        make_method("lift_place", RECIPE | {"groups": 4}, num_elements=64)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("coarse_norm", "l3", "one of l1, l2 but got 'l3'"),
        ("gate", "sine", "one of adaptive, constant, cosine, linear but got 'sine'"),
        ("reduction", "max", "one of sum, mean but got 'max'"),
        ("group_size", 16.0, "a whole number but got 16.0"),
        ("group_size", True, "a whole number but got True"),
        ("lambda_diff", -1, "a number of 0 or more but got -1"),
        ("lambda_out", "1", "a number of 0 or more but got '1'"),
        ("lambda_feat", float("inf"), "a number of 0 or more but got inf"),
        ("lambda_feat", float("nan"), "a number of 0 or more but got nan"),
        ("eps", None, "a number of 0 or more but got None"),
    ],
)
def test_a_bad_value_is_named(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"method\.{key} must be {allowed}"):
        make_method("lift_place_feat", RECIPE | {key: value}, num_elements=64)


def test_a_setting_that_is_missing_is_named() -> None:
    settings = {key: value for key, value in RECIPE.items() if key != "lambda_out"}
    with pytest.raises(ValueError, match=r"method\.lambda_out must be .* but got None"):
        make_method("out_kd", settings, num_elements=64)


def test_a_group_size_that_does_not_divide_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"group_size .* got 5; allowed: 2, 4, 8, 16, 32, 64$"):
        make_method("lift_place", RECIPE | {"group_size": 5}, num_elements=64)

"""Ids follow from what a run is: from everything that changes its result and from nothing else."""

from dataclasses import fields, replace

import pytest
from tiny import evaluation_spec, member, teacher_spec, train_spec, unet

from trainables.process import PIXEL, Process
from trainables.specs import ModelSpec, PrunedSpec


def test_every_field_counts_whatever_its_value() -> None:
    """Also what has its default: a default that changes must not leave the id as it was. `own` and `code` count where
    there is code of a user's (test_plugins.py).
    """
    one = member("lift_place_feat")
    for spec, left_out in (
        (one.train, {"key"}),
        (one.evaluation, {"batch_size", "code", "reference_images"}),  # counts where it is not the default
        (one.method, {"assistant", "own", "code"}),  # an assistant's content is the member's to hash
    ):
        assert set(spec.identity()) == {field.name for field in fields(spec)} - left_out
    assert one.training_identity()["process"] == one.process.identity()
    assert {"assistant", "rungs"} <= set(one.training_identity())
    assert "process" in one.identity()
    other = Process(config={**PIXEL.config, "beta_end": 0.03})
    assert len({spec.teacher_id for spec in (teacher_spec(), teacher_spec(process=other), teacher_spec(seed=1))}) == 3


@pytest.mark.parametrize(
    "other",
    [
        member("out_kd", seed=1),
        member("out_kd", lambda_out=0.5),
        member("lift"),
        member("out_kd", student=unet(6)),
        member("out_kd", train=train_spec(steps=7)),
        member("out_kd", train=train_spec(precision="float64")),
        member("out_kd", teacher=teacher_spec(seed=1)),
        member("out_kd", teacher=teacher_spec(model=unet(10))),
    ],
)
def test_whatever_changes_the_training_changes_both_ids(other: object) -> None:
    assert other.train_id != member("out_kd").train_id
    assert other.run_id != member("out_kd").run_id


@pytest.mark.parametrize(
    "change", [{"num_images": 32}, {"sampler_steps": 3}, {"feature_extractor": "inception"}, {"noise_seeds": [1]}]
)
def test_the_evaluation_changes_the_run_but_not_the_training(change: dict) -> None:
    other = member("out_kd", evaluation=evaluation_spec(**change))
    assert other.train_id == member("out_kd").train_id
    assert other.run_id != member("out_kd").run_id


def test_what_changes_only_speed_or_labels_changes_nothing() -> None:
    base = member("out_kd")
    renamed = ModelSpec(name="another name", model_class=base.student.model_class, config=base.student.config)
    same = [
        member("out_kd", evaluation=evaluation_spec(batch_size=7)),
        member("out_kd", student=renamed),
        member("out_kd", train=train_spec(key="elsewhere")),
        member("out_kd", group_size=4),  # does not apply to out_kd
    ]
    assert {other.run_id for other in same} == {base.run_id}


def test_a_method_without_a_teacher_does_not_depend_on_it() -> None:
    alone = member("diffusion_only")
    assert alone.teacher is None
    assert alone.run_id == member("diffusion_only", teacher=teacher_spec(seed=1)).run_id


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("steps", 0, "a whole number from 1 to 1000000000"),
        ("batch_size", 2.5, "a whole number from 1 to 100000"),
        ("lr", 0, "a number above 0"),
        ("lr", float("nan"), "a number above 0"),
        ("max_grad_norm", float("inf"), "a number above 0"),
        ("ema_decay", 1.0, "a number of 0 or more and below 1"),
        ("optimiser", "sgd", "one of adam, adamw"),
        ("lr_schedule", "step", "one of constant, cosine"),
        ("precision", "float16", "one of float32, float64"),
        ("timesteps", "odd", "one of antithetic, uniform"),
    ],
)
def test_a_bad_training_value_is_named(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"^train\.{key} must be {allowed} but got {value!r}(; did you mean .*)?$"):
        train_spec(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_images", 1),
        ("sampler_steps", 1001),
        ("batch_size", 0),
        ("noise_seeds", -1),
        ("neighbours", 0),
        ("guidance_channels", 3),
        ("spacing", "linspace"),
        ("sampler", "dpm"),
    ],
)
def test_a_bad_evaluation_value_is_named(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^evaluation\.{key} must be .* but got {value!r}(; .*)?$"):
        evaluation_spec(**{key: value})


def test_the_key_of_the_error_is_that_of_the_config() -> None:
    with pytest.raises(ValueError, match=r"^teacher_train\.lr must"):
        replace(teacher_spec().train, lr=-1.0)


def test_a_teacher_that_is_cut_from_another_is_known_by_both_and_made_after_it() -> None:
    parent = teacher_spec()

    def cut(ratio: float, teacher: object = parent, **train: object) -> object:
        model = PrunedSpec(name="cut", teacher=teacher, pruning={"how": "diff_pruning", "ratio": ratio})
        return teacher_spec(model=model, train=train_spec(key="teacher_train", **train))

    assert cut(0.5).made_from == (parent,)
    assert parent.made_from == ()
    specs = [parent, cut(0.5), cut(0.7), cut(0.5, teacher_spec(seed=1)), cut(0.5, steps=9)]
    assert len({spec.teacher_id for spec in specs}) == 5
    assert cut(0.5).teacher_id == cut(0.5).teacher_id


def test_equal_numbers_have_one_id() -> None:
    """1 and 1.0, and 1e-4 and 0.0001, were members of their own and trained twice."""
    for key, one, other in (("lr", 1, 1.0), ("max_grad_norm", 2, 2.0), ("lr", 1e-4, 0.0001)):
        first, second = (member("out_kd", train=train_spec(**{key: value})) for value in (one, other))
        assert first.run_id == second.run_id
    assert member("out_kd", lambda_out=1).run_id == member("out_kd", lambda_out=1.0).run_id
    assert member("out_kd", lambda_out=1).run_id != member("out_kd", lambda_out=1.5).run_id

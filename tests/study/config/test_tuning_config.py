"""What protocol=tuned and protocol=search refuse, in one line that names it."""

from pathlib import Path

import pytest
from tuned_study import tuned_config

from analysis.records.rows import write_run
from study.config.command_line import compose
from study.config.parse import study_config
from study.planning.arms import tuning_of
from study.search.confirm import check_fresh
from study.search.rounds import make_searches

BAD = [
    ("protocol.score=median", "mean, mean_std, worst, pareto"),
    ("protocol.sampler=grid", "tpe, random, qmc, gp, cmaes, nsga2"),
    ("protocol.score=pareto protocol.search_seeds=[7]", "protocol.search_seeds"),
    ("protocol.search_seeds=[]", "protocol.search_seeds"),
    ("protocol.confirm_seeds=[]", "protocol.confirm_seeds"),
    ("protocol.search_seeds=[1000,3]", "protocol.confirm_seeds must be fresh but 3 is among protocol.search_seeds"),
    ("protocol.confirm_seeds=[5,1000]", "protocol.confirm_seeds must be fresh but 1000"),
    ("protocol.search_seeds=[5,5]", "protocol.search_seeds must be distinct"),
    ("protocol.num_trials=0", "protocol.num_trials"),
    ("protocol.trials_per_round=1.5", "protocol.trials_per_round"),
    ("protocol.std_weight=-1", "protocol.std_weight"),
    ("protocol.recipe_first=1", "protocol.recipe_first"),
    ("protocol.methods=[kd]", "diffusion_only, out_kd"),
    ("protocol.methods=[out_kd,out_kd]", "protocol.methods must be distinct"),
    ("protocol.teachers=[unet_1]", "unet_16, unet_64, unet_160"),
    ("protocol.shared_space=nowhere", "nowhere"),
    ("protocol.shared_space=out_kd", "search_space.lambda_out is in out_kd and in the shared space"),
    ("search_space=lift_place", "search_space.coarse_norm of lift_place is not a setting of out_kd"),
    ("search_space={lift:lift}", "out_kd, out_feat_kd, lift_place_feat"),
    ("protocol.early_stopping.rule=best", "none, median, asha"),
    ("protocol.early_stopping.rule=median", "protocol.early_stopping.steps"),
    ("protocol.early_stopping.rule=asha protocol.early_stopping.steps=[9,3]", "ascending"),
    ("protocol.early_stopping.rule=asha protocol.early_stopping.steps=[9999]", "below train.steps"),
    ("protocol.early_stopping.keep=1", "protocol.early_stopping.keep"),
    ("protocol.sequential_seeds.compare=[out_kd]", "protocol.sequential_seeds.compare"),
    ("protocol.sequential_seeds.compare=[out_kd,lift]", "protocol.sequential_seeds.compare"),
    ("protocol.sequential_seeds={compare:[out_kd,out_feat_kd],first:11,alpha:0.05}", "first"),
]


@pytest.mark.parametrize(("overrides", "named"), BAD, ids=[overrides for overrides, _ in BAD])
def test_a_bad_protocol_is_refused_by_name(overrides: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        tuned_config(tmp_path, *overrides.split())
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("seed: {kind: int, low: 0, high: 9}", "search_space.seed"),  # a seed is never tuned
        ("train.steps: {kind: int, low: 1, high: 9}", "search_space.train.steps"),  # the budget is the same for all
        ("train.batch_size: {kind: int, low: 1, high: 9}", "search_space.train.batch_size"),
        ("group_size: {kind: divisor}", "search_space.group_size"),
    ],
)
def test_what_is_no_setting_of_the_method_is_refused(setting: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(setting)
    with pytest.raises(ValueError, match=named):
        tuned_config(tmp_path, f"search_space={{out_kd:{path}}}")


def test_a_space_without_the_recipe_is_refused_unless_it_need_not_begin_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"protocol\.recipe_first=true needs .*lambda_out=50"):
        make_searches(tuned_config(tmp_path, "method.lambda_out=50"))
    make_searches(tuned_config(tmp_path, "method.lambda_out=50", "protocol.recipe_first=false"))


def test_a_space_that_is_too_small_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("coarse_norm: {kind: categorical, choices: [l1, l2]}\ngroup_size: {kind: divisor, low: 32}\n")
    overrides = (f"search_space={path}", "protocol.shared_space=null", "protocol.methods=[lift_place]")
    with pytest.raises(ValueError, match=r"protocol\.num_trials must be at most 4, .* of lift_place .* got 6"):
        tuned_config(tmp_path, *overrides)


def test_only_the_teachers_that_are_tuned_are_made(tmp_path: Path) -> None:
    overrides = [f"study_dir={tmp_path}", "protocol=tuned", "protocol.teachers=[digits_1360k]"]
    config = study_config(compose("config", overrides))
    assert [teacher.name for teacher in config.teachers] == ["digits_1360k"]
    assert tuning_of(config).teachers == ("digits_1360k",)


def test_protocol_search_is_one_method_without_confirm_seeds(tmp_path: Path) -> None:
    config = tuned_config(tmp_path, "protocol=search", "protocol.num_trials=24")
    tuning = tuning_of(config)
    assert (tuning.name, list(tuning.spaces), tuning.search_seeds) == ("search", ["lift_place_feat"], (1000,))
    assert tuning.confirm_seeds == ()


@pytest.mark.parametrize(("phase", "seed"), [("search", 3), ("confirm", 1001)])
def test_seeds_that_the_records_know_from_the_other_phase_are_refused(tmp_path: Path, phase: str, seed: int) -> None:
    config = tuned_config(tmp_path)
    check_fresh(tmp_path, tuning_of(config))
    row = dict.fromkeys(("student", "method", "data", "sampler", "optimiser", "precision", "matmul", "member"), "x")
    row |= dict.fromkeys(("output", "feature", "feature_extractor", "reference_split", "study", "train_id"), "x")
    row |= dict.fromkeys(("student_params", "student_macs", "steps", "batch_size", "num_images", "sampler_steps"), 1)
    row |= {"run_id": "0" * 16, "phase": phase, "seed": seed, "status": "ok", "lr": 1.0, "ema_decay": 0.9}
    write_run(tmp_path, {**row, "world_size": 1, "fused": False})
    with pytest.raises(ValueError, match=rf"must be fresh but seed {seed} was {phase}"):
        check_fresh(tmp_path, tuning_of(config))


def test_a_tuning_follows_the_teachers_of_the_study() -> None:
    config = study_config(compose("config", ["protocol=search", "teachers=[unet_16,unet_160]"]))
    assert config.tuning is not None
    assert config.tuning.teachers == ("unet_16", "unet_160")
    with pytest.raises(ValueError, match=r"protocol.teachers must be one of unet_16 but got 'unet_32'"):
        study_config(compose("config", ["protocol=search", "teachers=[unet_16]", "protocol.teachers=[unet_32]"]))

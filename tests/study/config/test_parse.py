import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config.command_line import compose, one_line
from study.config.parse import study_config

KEYS = ["train.lr", "train.steps", "seeds", "study", "study_dir", "teachers", "methods", "+x", "pack"]
KEYS += ["report.collapse_fid", "report.primary"]

BAD = [
    ("trian.steps=3", "trian.steps"),
    ("train.stepz=3", "stepz"),
    ("+x=1", "'x'"),
    ("train.steps=0", "train.steps"),
    ("train.steps=1.5", "train.steps"),
    ("train.lr=fast", "train.lr"),
    ("train.lr=-1", "train.lr"),
    ("train.ema_decay=1.0", "train.ema_decay"),
    ("train.optimiser=sgd", "adam, adamw"),
    ("train.precision=int8", "train.precision"),
    ("teacher_train.batch_size=0", "teacher_train.batch_size"),
    ("methods=[kd]", "diffusion_only"),
    ("methods=[]", "methods"),
    ("methods=[out_kd,out_kd]", "twice"),
    ("methods=[{method:lift_place,group_size:7}]", "2, 4, 8, 16, 32, 64"),
    ("methods=[{method:out_kd,colour:red}]", "colour"),
    ("method.coarse_norm=l3", "l1, l2"),
    ("method.lambda_out=-1", "method.lambda_out"),
    ("seeds=[1,1]", "twice"),
    ("teachers_first=unet_16", "teachers_first"),
    ("teachers_first=[unet_32]", "teachers_first must be one of digits_250k, digits_1360k"),
    ("teachers_first=[digits_250k,digits_250k]", "teachers_first must be distinct"),
    ("teachers_first=[[]]", "teachers_first"),
    ("teachers_first=[digits_250k] protocol=tuned", "teachers_first must be [] where searches"),
    ("seeds=[-1]", "seeds"),
    ("seeds=3", "seeds"),
    ("teachers=[big]", "unet_16, unet_160, unet_32, unet_64"),
    ("teachers=[{name:../x,model_class:UNet2DModel,config:{}}]", "teachers.name"),
    ("teachers=[{name:x,model_class:Net,config:{}}]", "UNet2DModel"),
    ("student.config.norm_num_groups=5", "unet_4"),
    ("data=faces", "digits"),
    ("data.name=faces", "data.name"),
    ("evaluation.num_images=1", "evaluation.num_images"),
    ("evaluation.sampler=euler", "evaluation.sampler"),
    ("evaluation.feature_extractor=clip", "digits-cnn-v1"),
    ("protocol=all", "grid"),
    ("protocol=search protocol.method=kd", "protocol.method"),
    ("protocol=search protocol.teacher=unet_1", "protocol.teacher"),
    ("protocol=search search_space=nowhere", "search_space"),
    ("cluster.num_workers=0", "cluster.num_workers"),
    ("cluster.address=ray://head:10001", "ray job submit"),
    ("cluster.num_workers=3", "train.batch_size"),
    ("pack.gradient_accumulation=0", "pack.gradient_accumulation"),
    ("pack.gradient_accumulation=5", "must divide a worker's share of train.batch_size, which is 32, but got 5"),
    ("pack.activation_checkpointing=1", "pack.activation_checkpointing"),
    ("pack.prefetch=-1", "pack.prefetch"),
    ("pack.max_members=0", "pack.max_members"),
    ("report.collapse_fid=0", "report.collapse_fid"),
    ("study=../elsewhere", "study"),
    ("study_dir=", "study_dir"),
    ("--fast", "--fast"),
    ("train.steps", "train.steps"),
]


# Of each kind that has no case above: wrong types, absurd numbers, bad names, paths, keys and grammar.
BAD += [
    ("train.steps=1e400", "train.steps"),
    ("train.steps=nan", "train.steps"),
    ("train.steps=true", "train.steps"),
    ("train.steps=1000000000000000000000", "train.steps"),
    ("train.batch_size=100000000000", "train.batch_size"),
    ("train.batch_size='32'", "train.batch_size"),
    ("train.lr=nan", "train.lr"),
    ("train.lr=inf", "train.lr"),
    ("train.lr=true", "train.lr"),
    ("train.lr=[1]", "train.lr"),
    ("train.max_grad_norm=0", "train.max_grad_norm"),
    ("train.ema_decay=-0.1", "train.ema_decay"),
    ("train.optimiser={a:b}", "train.optimiser"),
    ("train.lr_schedule=warm", "constant, cosine"),
    ("train.timesteps=x", "train.timesteps"),
    ("train=3", "train"),
    ("train=[1,2]", "train"),
    ("+train.key=x", "'key'"),
    ("~train.steps", "steps"),
    ("~seeds", "seeds"),
    ("~pack", "pack"),
    ("pack.max_members=1.5", "pack.max_members"),
    ("pack.checkpoint_every_minutes=-1", "pack.checkpoint_every_minutes"),
    ("report.collapse_fid=nan", "report.collapse_fid"),
    ("report.collapse_fid=abc", "report.collapse_fid"),
    ("seeds=[]", "seeds"),
    ("seeds=[true]", "seeds"),
    ("seeds=[a]", "seeds"),
    ("seeds=[0,1e400]", "seeds"),
    ("seeds=[100000000000000000000000]", "seeds"),
    ("seeds=range(3,1)", "seeds"),
    ("seeds=5-2", "seeds must be a list"),
    ("teacher_seeds=null", "teacher_seeds"),
    ("teachers=[]", "teachers"),
    ("teachers=[unet_16,unet_16]", "unet_16"),
    ("teachers=[[unet_16]]", "teachers"),
    ("teachers=[{name:x}]", "model_class"),
    ("teachers=[{name:x,model_class:UNet2DModel,config:3}]", "teachers.config"),
    ("teachers=[{name:x,model_class:UNet2DModel,config:{layers_per_block:-1}}]", "layers_per_block"),
    ("teachers=[{name:x,model_class:UNet2DModel,config:{dropout:x}}]", "x.config"),
    ("student.config.layers_per_block=100000000", "student.config.layers_per_block"),
    ("student.config.block_out_channels=[6,-12]", "student.config.block_out_channels"),
    ("student.config.block_out_channels=[1000000000,6]", "student.config.block_out_channels"),
    ("student.config.block_out_channels=3", "unet_4.config"),
    ("+student.config.in_channels=3", "student.config.in_channels"),
    ("+student.config.dropout=nan", "student.config.dropout"),
    ("student.model_class=[x]", "UNet2DModel"),
    ("methods=null", "methods"),
    ("methods=[3]", "methods"),
    ("methods=[{method:[lift]}]", "lift"),
    ("methods=[{method:lift_place,group_size:true}]", "group_size"),
    ("methods=[{method:lift_place,group_size:-16}]", "group_size"),
    ("methods=[{method:lift_place,lambda_out:1e400}]", "lambda_out"),
    ("methods=[{method:lift_place,gate:[adaptive]}]", "gate"),
    ("+method.colour=1", "colour"),
    ("method=null", "method must be one of digits, dit"),
    ("+data.path=/etc/passwd", "'path'"),
    ("data.name=[digits]", "data.name"),
    ("evaluation.num_images=1000000000000000", "evaluation.num_images"),
    ("evaluation.sampler_steps=1001", "evaluation.sampler_steps"),
    ("evaluation.batch_size=1e10", "evaluation.batch_size"),
    ("evaluation.noise_seeds=[-1]", "evaluation.noise_seeds"),
    ("evaluation.feature_extractor=[x]", "evaluation.feature_extractor"),
    ("evaluation.extractor_weights=3", "evaluation.extractor_weights"),
    ("evaluation=inception evaluation.extractor_weights=/nowhere.pt", "/nowhere.pt"),
    ("evaluation=inception evaluation.extractor_weights=/etc/passwd", "/etc/passwd"),
    ("evaluation=none", "digits, euler_28, inception"),
    ("cluster.address=http://x:1", "cluster.address"),
    ("cluster.address=127.0.0.1:1", "cluster.address=127.0.0.1:1 cannot be reached"),
    ("cluster.num_workers=true", "cluster.num_workers"),
    ("cluster.cpus_per_worker=nan", "cluster.cpus_per_worker"),
    ("cluster.cpus_per_worker=9999", "9999 CPUs"),
    ("cluster.gpus_per_worker=99", "99 GPUs"),
    ("cluster.gpus_per_worker=-1", "cluster.gpus_per_worker"),
    ("cluster.teacher_num_workers=0", "cluster.teacher_num_workers"),
    ("cluster.teacher_num_workers=1000 teacher_train.batch_size=1000", "cluster.teacher_num_workers=1000 workers of"),
    (
        "cluster.teacher_num_workers=2 teachers=[unet_16] teacher_train.batch_size=7",
        "a multiple of cluster.teacher_num_workers (2) but got 7",
    ),
    ("cluster.teacher_cpus_per_worker=0", "cluster.teacher_cpus_per_worker"),
    ("cluster.teacher_gpus_per_worker=-1", "cluster.teacher_gpus_per_worker"),
    ("cluster.dashboard_host=3", "cluster.dashboard_host"),
    ("+cluster.x=1", "'x'"),
    ("study=null", "study"),
    ("study=/abs", "study"),
    ("study='a\nb'", "study"),
    ("study='a\0b'", "x00b"),
    (f"study={'a' * 65}", "at most 64"),
    ("study_dir='/tmp/a\0b'", "study_dir"),
    (f"study_dir={'a' * 300}", "File name too long"),
    ("study_dir=/dev/null", "study_dir"),
    ("study_dir=/dev/null/x", "Not a directory"),
    ("study_dir=/proc/x", "study_dir"),
    ("study_dir=[a]", "study_dir"),
    ("study_dir=${oc.env:HOME}", "oc.env:HOME"),
    ("study_dir=???", "study_dir"),
    ("study=${nowhere}", "nowhere"),
    ("seeds=${seeds}", "seeds"),
    ("protocol=search search_space=3", "search_space"),
    ("protocol=search protocol.num_trials=0", "protocol.num_trials"),
    ("protocol=search protocol.num_trials=1e400", "protocol.num_trials"),
    ("protocol=search protocol.sampler=magic", "tpe"),
    ("protocol=search protocol.search_seeds=[1,1]", "protocol.search_seeds"),
    ("protocol=tuned protocol.confirm_seeds=[1000]", "protocol.confirm_seeds"),
    ("protocol=tuned protocol.std_weight=nan", "protocol.std_weight"),
    ("protocol=tuned +protocol.x=1", "'x'"),
    ("protocol.name=tuned", "protocol"),
    ("hydra.run.dir=/tmp", "hydra.run.dir"),
    ("+experiment=nothing", "experiment"),
    ("a=b=c", "a is not a key"),
    ("seeds=[1", "seeds=[1"),
    ("=3", "'=3' names no key"),
]


@pytest.mark.parametrize(("overrides", "named"), BAD, ids=[overrides for overrides, _ in BAD])
def test_bad_input_is_refused_in_one_line_that_names_it(
    overrides: str, named: str, tmp_path: Path, refusal: Callable[[Sequence[str]], str]
) -> None:
    assert named in refusal(overrides.split(" "))
    assert not list(tmp_path.iterdir())


def test_crossed_bounds_of_a_search_space_are_named(tmp_path: Path) -> None:
    path = tmp_path / "crossed.yaml"
    path.write_text("lambda_out: {kind: float, low: 3, high: 1}")
    with pytest.raises(ValueError, match=r"search_space\.lambda_out\.low must be at most high"):
        study_config(compose("config", ["protocol=search", f"search_space={path}"]))


@pytest.mark.full
@pytest.mark.parametrize(
    ("overrides", "starts"),
    [
        (
            ["cluster.cpus_per_worker=9999"],
            "error: cluster.num_workers=1 workers of 9999 CPUs each can never be placed",
        ),
        (["cluster.address=127.0.0.1:1"], "error: cluster.address=127.0.0.1:1"),
        (["train.steps=-1"], "error: train.steps must be a whole number"),
    ],
)
def test_a_process_ends_before_anything_is_started(overrides: list[str], starts: str, tmp_path: Path) -> None:
    study_dir = tmp_path / "deep" / "study"
    command = [sys.executable, "-m", "study.sweep", f"study_dir={study_dir}", *overrides]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(starts)
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(override=st.one_of(st.text(max_size=20), st.builds("{}={}".format, st.sampled_from(KEYS), st.text(max_size=12))))
def test_whatever_is_typed_is_a_study_or_one_line(override: str) -> None:
    assert "\n" not in complaint(override)


def complaint(override: str) -> str:
    """What is said against the override; nothing where it is a study."""
    try:
        study_config(compose("config", [override]))
    except ValueError as error:
        return one_line(error)
    return ""


def test_settings_of_one_method_go_over_the_recipe() -> None:
    config = study_config(compose("config", ["methods=[lift_place,{method:lift_place,group_size:4,lambda_out:2}]"]))
    assert [(m.group_size, m.lambda_out, m.coarse_norm) for m in config.methods] == [(16, 1.0, "l1"), (4, 2, "l1")]

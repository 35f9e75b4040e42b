import subprocess
import sys
from pathlib import Path

import pytest

from study.command import compose
from study.parse import study_config

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
    ("seeds=[-1]", "seeds"),
    ("seeds=3", "seeds"),
    ("teachers=[big]", "unet_16, unet_32, unet_48"),
    ("teachers=[{name:../x,model_class:UNet2DModel,config:{}}]", "teachers.name"),
    ("teachers=[{name:x,model_class:Net,config:{}}]", "UNet2DModel"),
    ("student.config.norm_num_groups=5", "unet_6"),
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
    ("cluster.num_workers=3", "train.batch_size"),
    ("pack.max_members=0", "pack.max_members"),
    ("collapse_fid=0", "collapse_fid"),
    ("study=../elsewhere", "study"),
    ("study_dir=", "study_dir"),
    ("--fast", "--fast"),
    ("train.steps", "train.steps"),
]


@pytest.mark.parametrize(("overrides", "named"), BAD, ids=[overrides for overrides, _ in BAD])
def test_bad_input_is_refused_in_one_line_that_names_it(overrides: str, named: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        study_config(compose("config", overrides.split()))
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_bad_input_ends_before_anything_is_started(tmp_path: Path) -> None:
    study_dir = tmp_path / "study"
    command = [sys.executable, "-m", "study.sweep", f"study_dir={study_dir}", "cluster.cpus_per_worker=9999"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: cluster.num_workers=1 needs 9999 CPUs")
    assert len(result.stderr.splitlines()) == 1
    assert not study_dir.exists()


def test_settings_of_one_method_go_over_the_recipe() -> None:
    config = study_config(compose("config", ["methods=[lift_place,{method:lift_place,group_size:4,lambda_out:2}]"]))
    assert [(m.group_size, m.lambda_out, m.coarse_norm) for m in config.methods] == [(16, 1.0, "l1"), (4, 2, "l1")]

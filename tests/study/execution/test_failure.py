"""A member that fails is named with its context, and a command that runs it alone; the rest is kept."""

import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_sweep import sweep_command

from analysis.records.rows import finished_run_ids
from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.execution.failure import MemberFailedError, command_alone, describe_failure
from study.planning.members import plan_members
from trainables.specs import Member

OVERRIDES = [
    "study=other",
    "seeds=[3,4]",
    "teachers=[unet_16,{name:mine,model_class:UNet2DModel,config:{block_out_channels:[16,32],"
    "down_block_types:[DownBlock2D,DownBlock2D],up_block_types:[UpBlock2D,UpBlock2D],layers_per_block:1,"
    "norm_num_groups:4,add_attention:false}}]",
    "methods=[diffusion_only,{method:lift_place_feat,group_size:4,coarse_norm:l2},out_kd]",
    "train.steps=7",
    "pack.max_members=2",
]


@pytest.fixture(scope="module")
def config() -> StudyConfig:
    return study_config(compose("config", OVERRIDES))


def members_of(command: str) -> list[Member]:
    return plan_members(study_config(compose("config", shlex.split(command)[3:])))


def test_the_command_runs_the_member_alone(config: StudyConfig) -> None:
    command = shlex.join(["python", "-m", "study.sweep", *OVERRIDES])
    for member in plan_members(config)[::3]:
        (alone,) = members_of(command_alone(member, config, command))
        assert alone.run_id == member.run_id


def test_the_seed_of_a_teacher_and_what_it_is_cut_from_are_in_the_command() -> None:
    half = "{name:half,teacher:unet_32,pruning:{how:diff_pruning,ratio:0.5},train:{steps:7}}"
    quarter = f"{{name:quarter,teacher:{half},pruning:{{how:diff_pruning,ratio:0.5}}}}"
    overrides = [f"teachers=[tiny_pruned_unet,{quarter}]", "teacher_seeds=[2,5]", "seeds=[0]", "methods=[out_kd]"]
    overrides += ["student=diff_pruned", "student.teacher=unet_32"]
    members = plan_members(study_config(compose("config", overrides)))
    assert len({member.run_id for member in members}) == 4
    command = shlex.join(["python", "-m", "study.sweep", *overrides])
    for member in members:
        (alone,) = members_of(command_alone(member, study_config(compose("config", overrides)), command))
        assert alone.run_id == member.run_id


def test_a_loss_of_the_users_own_and_its_settings_are_in_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "def near(student, teacher, *, power: float = 1.0):\n    return (student - teacher).abs().pow(power).sum()"
    (tmp_path / "losses_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    overrides = ['methods=[out_kd,{method: mine, output: "losses_of_mine:near", power: 2}]', "seeds=[0]"]
    config = study_config(compose("config", overrides))
    member = next(one for one in plan_members(config) if one.method.name == "mine")
    (alone,) = members_of(command_alone(member, config, shlex.join(["python", "-m", "study.sweep", *overrides])))
    assert alone.run_id == member.run_id


def test_settings_that_a_search_chose_are_in_the_command(config: StudyConfig) -> None:
    command = "python -m study.sweep protocol=search study=other study_dir=somewhere"
    searching = study_config(compose("config", shlex.split(command)[3:]))
    member = replace(plan_members(searching)[-1], train=replace(searching.train, lr=0.0123))
    found = command_alone(member, searching, command)
    assert [alone.run_id for alone in members_of(found)] == [member.run_id]
    assert f"study_dir=somewhere-{member.run_id}" in shlex.split(found)


def test_the_message_has_the_whole_context(config: StudyConfig) -> None:
    member = next(one for one in plan_members(config) if one.method.name == "lift_place_feat")
    text = describe_failure(MemberFailedError(member, "Traceback\nKeyError: 'x'\n"), config, "python -m study.sweep")
    assert text.startswith(f"member {member.run_id} (lift_place_feat, teacher unet_16, seed 3) failed twice:\nTrace")
    assert "KeyError: 'x'\nto run this member alone:\n  python -m study.sweep" in text


@pytest.mark.full
def test_a_member_that_fails_stops_the_sweep_and_leaves_the_others(cluster_address: str, tmp_path: Path) -> None:
    overrides = ("teachers=[unet_16]", "methods=[diffusion_only,out_kd]", "seeds=[0]")
    members = plan_members(study_config(compose("config", sweep_command(tmp_path, *overrides)[3:])))
    victim = next(member for member in members if member.teacher is not None)
    in_the_way = tmp_path / "samples" / f"{victim.run_id}.png"

    command = sweep_command(tmp_path, f"cluster.address={cluster_address}", *overrides)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not (tmp_path / "study.yaml").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        in_the_way.mkdir(parents=True)  # after damage was looked for: its samples cannot be written
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert f"failed: member {victim.run_id} (out_kd, teacher unet_16, seed {victim.seed}) failed twice" in errors
    assert "IsADirectoryError" in errors
    finished = finished_run_ids(tmp_path)
    assert victim.run_id not in finished
    assert finished < {member.run_id for member in members}

    in_the_way.rmdir()
    lines = errors.splitlines()
    command = [sys.executable, *shlex.split(lines[lines.index("to run this member alone:") + 1])[1:]]
    alone = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert alone.returncode == 0, alone.stderr
    assert finished_run_ids(tmp_path) == finished | {victim.run_id}
    assert not (tmp_path / "checkpoints").exists()

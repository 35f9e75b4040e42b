"""A sweep with another evaluation protocol is refused before it computes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_record import make_record

from analysis.records.rows import write_run
from study.config.command_line import compose
from study.config.parse import study_config
from study.directory.claim import claim
from study.directory.protocol import require_protocol
from study.planning.members import plan_members

OVERRIDES = ["teachers=[unet_16]", "methods=[out_kd]", "seeds=[0]"]


def write_first_row(study_dir: Path) -> None:
    """A row of the study as it is by default."""
    (member,) = plan_members(study_config(compose("config", [f"study_dir={study_dir}", *OVERRIDES])))
    identity = json.dumps(member.identity())
    claim(study_dir)
    write_run(study_dir, make_record(member.run_id) | {"member": identity, "teacher_seed": 0})


def test_the_same_protocol_is_let_through_and_another_is_named(tmp_path: Path) -> None:
    write_first_row(tmp_path)
    config = study_config(compose("config", [f"study_dir={tmp_path}", *OVERRIDES]))
    identity = {"data": config.data.identity(), "evaluation": config.evaluation.identity()}
    require_protocol(tmp_path, identity)
    changed = {**identity["evaluation"], "num_images": 64}
    with pytest.raises(ValueError, match=r"^evaluation\.num_images must be \d+ as in the rows of .* but got 64; give"):
        require_protocol(tmp_path, {**identity, "evaluation": changed})


@pytest.mark.full
def test_a_sweep_of_another_protocol_ends_with_one_line_and_exit_code_2_before_it_starts_anything(
    tmp_path: Path,
) -> None:
    write_first_row(tmp_path)
    command = [sys.executable, "-m", "study.sweep", f"study_dir={tmp_path}", *OVERRIDES, "evaluation.num_images=64"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "evaluation.num_images must be" in result.stderr
    assert "but got 64; give another study_dir" in result.stderr
    assert not (tmp_path / "teachers").exists()
    assert not (tmp_path / "study.yaml").exists()

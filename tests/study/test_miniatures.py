"""Every experiment in miniature, without Ray: its teachers in the order of the plan, then its packs."""

from pathlib import Path

import numpy as np
import pytest

from study.config.command_line import compose
from study.config.options import option_names
from study.config.parse import study_config
from study.directory.layout import folders
from study.planning.members import plan_members, plan_packs, plan_teachers
from trainables.data import data_shape
from trainables.models import count
from trainables.models.facts import find_teacher, student_size
from trainables.models.students import make_initial
from trainables.specs import PrunedSpec
from trainables.training.pack import MemberResult, run_pack
from trainables.training.teachers import make_teacher

# In the full suite alone, with all others (test_experiments_run.py): what is evaluated at 32x32 for 20 s, and three of
# the networks of celeba_table6.
FULL = {"mnist_pair", "celeba_table1", "table8_ablation", "group_size_ablation"}


@pytest.mark.parametrize("name", sorted(set(option_names("experiment")) - FULL))
def test_a_miniature_trains_all_its_members(name: str, tmp_path: Path) -> None:
    config = study_config(
        compose("config", [f"+experiment={name}", "scale=tiny", f"study_dir={tmp_path}", "seeds=[0]"])
    )
    shape, found, results = data_shape(config.data), folders(tmp_path), list[MemberResult]()
    told = student_size(config.student, shape, found.initial)  # before anything is there
    for spec in plan_teachers(config):
        make_teacher(spec, config.evaluation, found)
        teacher = find_teacher(spec, config.evaluation, found)
        assert teacher is not None
        assert teacher.size == count(spec.model, shape)
    if isinstance(config.student, PrunedSpec):
        make_initial(config.student, found.teachers, found.initial)
    assert student_size(config.student, shape, found.initial) == told
    for pack in plan_packs(plan_members(config), None):
        run_pack(pack.members, found, results.append)
    assert {result.member.run_id for result in results} == {member.run_id for member in plan_members(config)}
    for result in results:
        assert result.trained.model is not None
        assert sum(one.numel() for one in result.trained.model.parameters()) == told.params
        assert result.evaluation is not None
        assert np.isfinite(result.evaluation.metrics["fid"])

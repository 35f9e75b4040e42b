"""Every experiment in miniature, from the sweep to the report, by the code of the paper's scale."""

import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analysis.records.rows import read_runs
from study.config.command_line import compose
from study.config.options import option_names
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.planning.members import plan_members

pytestmark = pytest.mark.full
EXPERIMENTS = option_names("experiment")
# In a process that imports torch and diffusers once for several.
RUN_ALL = """
import sys
from study.sweep import main
for name in sys.argv[3:]:
    where = [f"study_dir={sys.argv[1]}/{name}", f"cluster.address={sys.argv[2]}"]
    assert main([f"+experiment={name}", "scale=tiny", *where]) == 0, name
"""


@pytest.fixture(scope="module")
def studies(cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two processes at once on the shared cluster: while one plans or writes its report, the other trains."""
    root = tmp_path_factory.mktemp("experiments")
    commands = [[sys.executable, "-c", RUN_ALL, str(root), cluster_address, *EXPERIMENTS[i::2]] for i in range(2)]
    with ThreadPoolExecutor() as pool:
        for result in pool.map(_run, commands):
            assert result.returncode == 0, result.stderr[-4000:]
    return root


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False, env=dict(os.environ))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_member_has_its_row_its_student_and_its_place_in_the_report(name: str, studies: Path) -> None:
    from trainables.models import load_model
    from trainables.models.digest import weights_digest

    study_dir = studies / name
    config = study_config(compose("config", [f"+experiment={name}", "scale=tiny", f"study_dir={study_dir}"]))
    rows = read_runs(study_dir).to_pylist()
    assert {row["run_id"] for row in rows} == _expected(config, study_dir)
    for row in rows:
        assert row["status"] == "ok"
        assert row["fid"] > 0
        assert row["student_params"] < row["teacher_params"] if row["teacher"] else row["student_params"] > 0
        student = load_model(study_dir / "students" / row["train_id"])
        assert weights_digest(student) == row["weights_digest"]
        assert sum(parameter.numel() for parameter in student.parameters()) == row["student_params"]
    page = (study_dir / "report" / "index.html").read_text()
    assert all(row["method"] in page and (row["teacher"] or "") in page for row in rows)
    if config.tuning is not None:  # a search has no cells
        trials = config.tuning.num_trials
        assert f"{len(rows)} searched members" in page
        assert page.count(f"{trials} of {trials}") == len(config.teachers) * len(config.tuning.spaces)
        return
    with (study_dir / "report" / "stability.csv").open() as file:
        cells = {(cell["teacher"], cell["method"]) for cell in csv.DictReader(file)}
    assert len(cells) == len({(row["teacher"], row["method"], row["group_size"]) for row in rows})


def _expected(config: StudyConfig, study_dir: Path) -> set[str]:
    """The run_ids of the grid, or those of the search's ledgers, which hold every trial on every seed."""
    if config.tuning is None:
        return {member.run_id for member in plan_members(config)}
    arms = [json.loads(path.read_text()) for path in (study_dir / "searches").glob("*.json")]
    found = {run_id for arm in arms for trial in arm["trials"] for run_id in trial["run_ids"]}
    assert len(arms) == len(config.teachers) * len(config.tuning.spaces)
    assert len(found) == len(arms) * config.tuning.num_trials * len(config.tuning.search_seeds)
    return found

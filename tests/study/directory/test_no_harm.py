"""Nothing but what this program wrote is moved or removed: foreign folders, foreign names, and what links lead to."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from test_orphans import keep_state
from tiny_record import make_record

from analysis.records.rows import write_run
from study.directory.claim import MARKER, claim
from study.directory.lease import lease
from study.directory.repair import remove_orphans, set_aside_damaged
from study.watching import events
from study.watching.events import log_dir, remove_old_logs

FOREIGN = (
    *("checkpoints/resnet50_best/model.pt", "checkpoints/llama/config.json", ".cache.tmp/x", ".notes.tmp"),
    *("samples/photo.png", "samples/notes.npz", "reference/paper.pdf", "teachers/anna/teacher.json", "logs/run.jsonl"),
    *("students/thesis/training.json", "initial/x/student.json", "sweep-plan.lease", "sweep-plan.cancel"),
)


def put(folder: Path, names: Sequence[str]) -> dict[str, str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return digests(folder)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("override", ["cluster.cpus_per_worker=99", "seeds=[0]"])
def test_a_sweep_refuses_a_foreign_folder_and_touches_nothing(
    override: str, refusal: Callable[[Sequence[str]], str], tmp_path: Path
) -> None:
    project = tmp_path / "project"
    before = put(project, (*FOREIGN, "study.yaml"))
    said = refusal([f"study_dir={project}", "train.steps=12", "teacher_train.steps=12", override])
    assert "study_dir must be empty, new or a study of this program" in said
    assert digests(project) == before


def test_a_refused_sweep_moves_nothing_in_a_study_of_ours(
    refusal: Callable[[Sequence[str]], str], tmp_path: Path
) -> None:
    claim(tmp_path)
    finished = "a" * 16
    write_run(tmp_path, make_record(finished))
    keep_state(tmp_path, "3" * 16, finished)
    before = put(tmp_path, (*FOREIGN, ".file.0a1b2c3d.tmp", f"records/runs/{'b' * 16}.parquet"))
    refusal([f"study_dir={tmp_path}", "train.steps=12", "teacher_train.steps=12", "cluster.cpus_per_worker=99"])
    assert digests(tmp_path) == before


def test_foreign_names_in_a_study_of_ours_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(tmp_path)
    before = put(tmp_path, FOREIGN)
    monkeypatch.setattr(events, "MAX_FILES", 1)
    (log_dir(tmp_path) / "other.jsonl").write_text("{}")
    before = digests(tmp_path)
    with lease(tmp_path):
        set_aside_damaged(tmp_path)
        remove_orphans(tmp_path)
        remove_old_logs(tmp_path)
    assert digests(tmp_path) == before


def test_nothing_is_removed_through_a_link(tmp_path: Path) -> None:
    study_dir, scratch = tmp_path / "study", tmp_path / "scratch"
    study_dir.mkdir()
    claim(study_dir)
    before = put(scratch, ("checkpoints/0123456789abcdef/model.pt", "students/.x.0a1b2c3d.tmp", "checkpoints/ray/x"))
    for name in ("checkpoints", "students"):
        (study_dir / name).symlink_to(scratch / name)
    (study_dir / ".x.0a1b2c3d.tmp").symlink_to(scratch)
    with lease(study_dir):
        remove_orphans(study_dir)
    assert digests(scratch) == before


def test_checkpoints_are_written_and_read_through_a_link(tmp_path: Path) -> None:
    study_dir, scratch = tmp_path / "study", tmp_path / "scratch"
    study_dir.mkdir()
    scratch.mkdir()
    claim(study_dir)
    (study_dir / "checkpoints").symlink_to(scratch)
    keep_state(study_dir, "1" * 16, "b" * 16)
    with lease(study_dir):
        set_aside_damaged(study_dir)
        remove_orphans(study_dir)
    assert [path.name for path in (scratch / ("1" * 16)).iterdir()] == ["step-00000001"]
    (damaged,) = (scratch / ("1" * 16)).iterdir()
    (damaged / "members.json").write_text("{}")
    with lease(study_dir):
        set_aside_damaged(study_dir)
    assert (study_dir / "damaged" / "checkpoints" / ("1" * 16) / "step-00000001" / "members.json").exists()


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "checkpoints").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match="checkpoints must be a link to a folder"), lease(tmp_path):
        raise AssertionError("it cannot be written to")


def test_a_marker_of_another_program_is_none(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("{}")
    with pytest.raises(ValueError, match=f"{MARKER} is damaged"), lease(tmp_path):
        raise AssertionError("it is not ours")
    assert (tmp_path / MARKER).read_text() == "{}"

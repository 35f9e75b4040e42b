"""What killed processes leave in a study directory, and its removal when a sweep starts or ends."""

from pathlib import Path

from analysis.records.rows import curves_dir, finished_run_ids, runs_dir
from storage import is_there, remove_folder, remove_temporaries
from study.directory.layout import checkpoints_dir, folders, ray_dir, samples_dir
from trainables.training.checkpoints import run_ids
from trainables.training.teachers import FACTS as TEACHER_FACTS


def remove_orphans(study_dir: Path) -> None:
    """Removes temporary files, what Ray kept for itself, and the state of packs with all rows and of made teachers.

    For when nobody else writes into the study.
    """
    found = folders(study_dir)
    writers = (study_dir, runs_dir(study_dir), curves_dir(study_dir), samples_dir(study_dir), study_dir / "searches")
    for folder in (*writers, found.reference, found.initial, found.students, found.teachers, *found.teachers.glob("*")):
        remove_temporaries(folder)
    _remove_checkpoints(study_dir)


def _remove_checkpoints(study_dir: Path) -> None:
    root, finished, teachers = checkpoints_dir(study_dir), finished_run_ids(study_dir), folders(study_dir).teachers
    remove_folder(ray_dir(study_dir))
    for folder in root.glob("*"):
        held = run_ids(folder)
        if held is None or held <= finished or is_there(teachers / folder.name, TEACHER_FACTS):
            remove_folder(folder)
    if root.exists() and not any(root.iterdir()):
        root.rmdir()

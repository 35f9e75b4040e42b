"""What a study has spent on what its members start from, as the files of these models say."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from study.directory.layout import folders
from trainables.models.facts import INITIAL, TEACHER, read_facts


def model_device_seconds(study_dir: Path) -> float:
    """Device-seconds that teachers (training and evaluation) and pruned students took to make; 0 for damaged ones."""
    found, total = folders(study_dir), 0.0
    for folder, name in ((found.teachers, TEACHER), (found.initial, INITIAL)):
        for path in folder.glob(f"*/{name}"):
            with suppress(OSError, ValueError):
                total += read_facts(path.parent, name).get("device_seconds", 0.0)
    return total

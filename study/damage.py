"""What is damaged in a study directory is named, moved to <study_dir>/damaged/, and made again by the sweep."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import safetensors.torch
import yaml
from PIL import Image

from analysis.records import check_records, curves_dir, runs_dir
from study.layout import folders, samples_dir
from trainables.metrics import load_features
from trainables.trainee import tensors_digest


def set_aside_damaged(study_dir: Path) -> None:
    """Looks through all that the study wrote, for when nobody else writes into it; a line on stderr for each damage.

    A member whose curve or samples are damaged loses its row too, so that it is done again; its student is kept.
    Raises ValueError for records of another version of this program.
    """
    for path, reason in _damage(study_dir):
        target = _free_name(study_dir.absolute() / "damaged" / path.absolute().relative_to(study_dir.absolute()))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(target)
        except FileNotFoundError:  # a row that was moved for its curve and again for its samples
            continue
        print(f"damaged, moved to {target} and made again: {reason}", file=sys.stderr)


def _damage(study_dir: Path) -> Iterator[tuple[Path, str]]:
    """What is to be moved, and why."""
    found = folders(study_dir)
    checks = [
        *((folder, _check_model) for name in (found.teachers, found.students) for folder in _visible(name)),
        *((path, load_features) for path in _visible(found.reference)),
        *((path, _check_yaml) for path in study_dir.glob("study.yaml")),
    ]
    for path, check in checks:
        if reason := _reason(path, check):
            yield path, reason
    for error in check_records(study_dir):
        yield error.path, str(error)
        if error.path.parent == curves_dir(study_dir):
            yield _row(study_dir, error.path.stem), f"the member of {error.path.name} is done again"
    for path in _visible(samples_dir(study_dir)):
        if reason := _reason(path, _check_samples):
            yield path, reason
            yield _row(study_dir, path.stem), f"the member of {path.name} is done again"


def _reason(path: Path, check: Callable[[Path], object]) -> str | None:
    """What check(path) has against it, in one line."""
    try:
        check(path)
    except Exception as error:  # the libraries that read these files fail on broken bytes in whatever way
        return " ".join(f"{path}: {error or type(error).__name__}".split())
    return None


def _check_model(folder: Path) -> None:
    """Raises where a teacher or student is not what was saved: its weights by their digest, its JSON by its form."""
    (facts,) = [json.loads(path.read_text()) for path in folder.glob("t*.json")]  # teacher.json or training.json
    config = json.loads((folder / "config.json").read_text())
    tensors = safetensors.torch.load_file(folder / "diffusion_pytorch_model.safetensors")
    if tensors_digest(tensors) != facts["digest"] or not isinstance(config["_class_name"], str):
        raise ValueError("its weights are not those it was saved with")


def _check_samples(path: Path) -> None:
    if path.suffix == ".png":
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise ValueError(f"{broken} in it is damaged")


def _check_yaml(path: Path) -> None:
    if not isinstance(yaml.safe_load(path.read_text()), dict):
        raise ValueError("it does not hold a config")


def _row(study_dir: Path, run_id: str) -> Path:
    return runs_dir(study_dir) / f"{run_id}.parquet"


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.{number}" if number else path.name) for number in count())
    return next(name for name in names if not name.exists())

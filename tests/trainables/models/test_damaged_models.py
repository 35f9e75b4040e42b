"""A damaged student or teacher is never used: it is named, and a damaged student is set aside and trained again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import evaluation_spec, member, teacher_spec, train_spec, unet
from tiny import folders as folders_in

from storage import set_aside
from trainables.evaluation.reference_file import load_reference
from trainables.folders import Folders
from trainables.models.facts import find_teacher
from trainables.models.saved import load_student
from trainables.models.teachers import check_teacher
from trainables.training.pack import MemberResult, run_pack
from trainables.training.teachers import make_teacher

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
MEMBER = member("diffusion_only", train=train_spec(steps=2))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("study")
    return folders_in(root)


def digest_of(folders: Folders) -> str | None:
    results: list[MemberResult] = []
    run_pack([MEMBER], folders, results.append)
    return results[0].trained.digest


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_text('["of another program"]')


def change_a_number(path: Path) -> None:
    """Still JSON, and still what a reader expects."""
    text = path.read_text()
    keys = {"training.json": "train_seconds", "teacher.json": "params", "config.json": "layers_per_block"}
    key = keys.get(path.name, "num_train_timesteps")
    facts = json.loads(text)
    path.write_text(json.dumps({**facts, key: facts[key] + 1}))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


JSON_DAMAGES = [flip, cut_off, empty, foreign, change_a_number]
DAMAGES = [
    *[
        (name, damage)
        for name in ("training.json", "unet/config.json", "scheduler/scheduler_config.json")
        for damage in JSON_DAMAGES
    ],
    *[(WEIGHTS, damage) for damage in (flip, cut_off, empty, foreign, Path.unlink)],
    ("training.json", Path.unlink),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_student_is_set_aside_and_trained_again(
    name: str, damage: Callable[[Path], None], folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    digest, student = digest_of(folders), folders.students / MEMBER.train_id
    damage(student / name)
    content = files_of(student)
    assert digest_of(folders) == digest
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line
    aside = Path(line.split("moved to ")[1].split("; made again")[0])
    assert aside.parent == folders.students.parent / "damaged" / "students"
    assert files_of(aside) == content
    kept = load_student(student)
    assert kept is not None
    assert kept.digest == digest


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name.replace("training", "teacher"), damage) for name, damage in DAMAGES],
)
def test_a_damaged_teacher_is_named(name: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    spec = teacher_spec(model=unet(4), train=train_spec(steps=1, key="teacher_train"))
    make_teacher(spec, evaluation_spec(num_images=4, sampler_steps=1), folders)
    folder = folders.teachers / spec.teacher_id
    check_teacher(folder)
    damage(folder / name)
    with pytest.raises(ValueError, match=name):
        check_teacher(folder)
    if name == "teacher.json":
        with pytest.raises(ValueError, match=r"teacher\.json is damaged"):
            find_teacher(spec, evaluation_spec(), folders)


@pytest.mark.parametrize("damage", [flip, cut_off, empty, foreign])
def test_damaged_reference_features_are_named(damage: Callable[[Path], None], folders: Folders) -> None:
    digest_of(folders)
    (path,) = folders.reference.glob("*.safetensors")
    content = path.read_bytes()
    damage(path)
    try:
        with pytest.raises(ValueError, match=path.name):
            load_reference(path, 3)
    finally:
        path.write_bytes(content)


def test_what_is_set_aside_twice_is_kept_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.yaml"
    for content in ("first", "second"):
        path.write_text(content)
        set_aside(path, tmp_path, "torn\nin two")
    set_aside(path, tmp_path, "is gone")
    assert (tmp_path / "damaged" / "study.yaml").read_text() == "first"
    assert (tmp_path / "damaged" / "study.yaml.1").read_text() == "second"
    assert len(capsys.readouterr().err.splitlines()) == 2

"""A folder of images and a diffusers folder say themselves what they are called and how large; students by a ratio."""

from pathlib import Path

import pytest
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.costs.dry_run import describe
from trainables.data.dataset import DataShape
from trainables.families import FAMILIES
from trainables.models import build_model, count
from trainables.models.narrow import narrower
from trainables.specs import ModelSpec

TEACHER = {
    "block_out_channels": [32, 64],
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "add_attention": False,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home")
    UNet2DModel(sample_size=16, **TEACHER).save_pretrained(root / "my unet" / "unet")
    DDPMScheduler(clip_sample=False).save_pretrained(root / "my unet" / "scheduler")
    (root / "photos").mkdir()
    for number in range(64):
        Image.new("RGB", (20, 20), (4 * number, 9, 90)).save(root / "photos" / f"{number}.png")
    return root


def config(home: Path, *overrides: str) -> StudyConfig:
    own = ["data=folder", f"data.path={home / 'photos'}", f"data.cache={home / 'cache'}", "dry_run=true"]
    own += [f"teachers=[{{folder: '{home / 'my unet'}'}},unet_16]", "evaluation.feature_extractor=own-v1"]
    return study_config(compose("config", [*own, *overrides]))


def test_names_size_and_student_follow_from_the_folders(home: Path) -> None:
    found = config(home, "student.ratio=0.05")
    assert (found.data.name, found.data.size) == ("photos", 16)
    assert [teacher.name for teacher in found.teachers] == ["my_unet", "unet_16"]
    shape = DataShape(image=(3, 16, 16))
    part = count(found.student, shape).params / count(found.teachers[0].model, shape).params
    assert 0.05 / 1.5 < part < 0.05 * 1.5
    assert found.student.name == "my_unet_x0.05"
    assert "min on this machine, 2 packs at once" in describe(found, 2)


def test_the_ratio_is_of_the_teacher_that_is_named(home: Path) -> None:
    assert config(home, "student.ratio=0.1", "student.teacher=unet_16").student.name == "unet_16_x0.1"
    assert config(home, "student.ratio=0.1", "student.teacher=my_unet").student.name == "my_unet_x0.1"
    cut = config(home, "student=diff_pruned", "student.teacher=my_unet")
    assert cut.student.teacher == cut.teachers[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["student.ratio=1"], "student.ratio must be a number above 0 and below 1 but got 1"),
        (["student.ratio=0.00001"], "student.ratio=1e-05: the nearest narrower my_unet has"),
        (["teachers=[unet_16]"], "data.size must be given, in pixels: no teacher"),
        (["evaluation.feature_extractor=digits-cnn-v1"], "reads images of 8x8, but those that are measured are 16x16"),
        (["student.ratio=0.1", "student.teacher=yours"], "teachers must be among .* but got 'yours'"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(home: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(home, *overrides)


@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.02])
def test_a_narrower_transformer_can_be_built(ratio: float) -> None:
    teacher = ModelSpec(
        name="dit",
        model_class="DiTTransformer2DModel",
        config={"num_layers": 2, "num_attention_heads": 8, "attention_head_dim": 16, "patch_size": 2},
    )
    shape = DataShape(image=(4, 8, 8), num_classes=10)
    student = narrower(teacher, ratio, shape, key="student.ratio")
    assert 1 / 1.5 < count(student, shape).params / count(teacher, shape).params / ratio < 1.5
    build_model(student, shape, seed=0)


def test_what_cannot_be_made_narrower_says_so() -> None:
    assert FAMILIES["PrunedUNet2DModel"].narrow is None

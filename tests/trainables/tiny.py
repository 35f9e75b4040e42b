"""Tiny models, budgets and members: a training step of one takes milliseconds."""

from pathlib import Path

from trainables.data import data_shape
from trainables.data.digits import Digits
from trainables.folders import Folders
from trainables.losses.methods import Method, make_method
from trainables.protocol import EvaluationSpec
from trainables.specs import Member, ModelSpec, TeacherSpec, TrainSpec

SHAPE = data_shape(Digits())


def unet(first_channels: int, **config: object) -> ModelSpec:
    settings = {
        "block_out_channels": [first_channels, 2 * first_channels],
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "add_attention": False,
        "norm_num_groups": 2,
    }
    return ModelSpec(name=f"unet_{first_channels}", model_class="UNet2DModel", config=settings | config)


def train_spec(**settings: object) -> TrainSpec:
    return TrainSpec(**{"steps": 6, "batch_size": 8, "lr": 2e-3, "ema_decay": 0.9} | settings)


def evaluation_spec(**settings: object) -> EvaluationSpec:
    return EvaluationSpec(
        **{"num_images": 16, "sampler_steps": 2, "feature_extractor": "digits-cnn-v1", "batch_size": 16} | settings
    )


def teacher_spec(**settings: object) -> TeacherSpec:
    return TeacherSpec(**{"model": unet(8), "train": train_spec(key="teacher_train"), "data": Digits()} | settings)


def folders(root: Path) -> Folders:
    return Folders(*(root / name for name in ("teachers", "initial", "students", "reference")))


def member(
    method: str,
    *,
    seed: int = 0,
    student: ModelSpec | None = None,
    train: TrainSpec | None = None,
    evaluation: EvaluationSpec | None = None,
    teacher: TeacherSpec | None = None,
    own: dict[str, Method] | None = None,
    **settings: object,
) -> Member:
    recipe = {
        "lambda_out": 1.0,
        "feature": "fitnet",
        "lambda_feat": 1e-4,
        "group_size": 16,
        "coarse_norm": "l1",
        "gate": "adaptive",
        "eps": 1e-7,
    }
    chosen = make_method(method, recipe | settings, num_elements=64, own=own)
    return Member(
        data=Digits(),
        teacher=(teacher or teacher_spec()) if chosen.needs_teacher else None,
        student=student or unet(4),
        method=chosen,
        seed=seed,
        train=train or train_spec(),
        evaluation=evaluation or evaluation_spec(),
    )

"""Teachers as people have them: how they were trained is read, and what cannot be loaded is found at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from study.config.command_line import compose
from study.config.parse import study_config
from trainables.data import DataShape
from trainables.models import build_model
from trainables.models.pretrained import find_pretrained, load_pretrained
from trainables.process import PIXEL
from trainables.specs import ModelSpec

SHAPE = DataShape(image=(1, 8, 8))
CONFIG = {
    "block_out_channels": [8],
    "down_block_types": ["AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 4,
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def saved(root: Path, **config: Any) -> Path:
    """A folder like those of google/ddpm-*: config, weights and, where a test writes one, the scheduler's, in one."""
    build_model(ModelSpec(name="m", model_class="UNet2DModel", config=CONFIG), SHAPE, seed=0).save_pretrained(root)
    known = json.loads((root / "config.json").read_text())
    (root / "config.json").write_text(json.dumps({**known, **config}))
    return root


def scheduler(folder: Path, **config: Any) -> None:
    folder.mkdir(exist_ok=True)
    known = {**PIXEL.config, "_class_name": "DDPMScheduler", "clip_sample": True, "variance_type": "fixed_large"}
    (folder / "scheduler_config.json").write_text(json.dumps({**known, **config}))


def teacher(folder: Path, *overrides: str, more: str = "") -> Any:
    config = study_config(compose("config", ["seeds=[0]", f"teachers=[{{name:m,folder:{folder}{more}}}]", *overrides]))
    return config.teachers[0]


@pytest.mark.parametrize("where", ["", "scheduler"])
@pytest.mark.parametrize(
    ("key", "value"), [("prediction_type", "v_prediction"), ("beta_schedule", "squaredcos_cap_v2")]
)
def test_how_it_was_trained_is_read_where_diffusers_keeps_it(where: str, key: str, value: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    scheduler(folder / where, **{key: value})
    with pytest.raises(ValueError, match=f"is not that of teacher m, which was trained with .*{value}"):
        teacher(folder)
    spec = teacher(folder, f"process.config.{key}={value}")
    assert spec.process.config[key] == value


def test_the_defaults_are_those_of_the_scheduler_that_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    (folder / "scheduler_config.json").write_text('{"_class_name": "PNDMScheduler"}')
    assert teacher(folder).pretrained is not None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "EDMEulerScheduler"}, "_class_name must be one of .* but is 'EDMEulerScheduler'"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "but is 'ScoreSdeVeScheduler'"),
        ({"_class_name": None}, "but is None"),
        (
            {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True},
            "use_flow_sigmas must be false but is True",
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
            "use_dynamic_shifting must be",
        ),
        ({"prediction_type": "sample"}, "process.config.prediction_type must be one of epsilon, v_prediction"),
        ({"predict_epsilon": False}, "predict_epsilon must be true but is false"),
        ({"beta_schedule": "magic"}, "magic"),
    ],
)
def test_a_scheduler_that_is_not_understood_is_refused_by_name(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "m")
    scheduler(folder, **config)
    with pytest.raises(
        ValueError, match=f"teacher m: .*scheduler_config.json is not understood: .*{message}"
    ) as refused:
        teacher(folder)
    assert "\n" not in str(refused.value)


def test_trailing_timesteps_are_asked_for(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    scheduler(folder, timestep_spacing="trailing")
    with pytest.raises(ValueError, match=r"\+process.config.timestep_spacing=trailing"):
        teacher(folder)
    assert teacher(folder, "+process.config.timestep_spacing=trailing").process.config["timestep_spacing"] == "trailing"
    scheduler(folder, timestep_spacing="leading")
    teacher(folder)


@pytest.mark.parametrize("sample_size", [None, [8, 8], 32])
def test_what_the_model_does_not_need_may_be_otherwise(
    sample_size: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extra = {"decay": 0.9999, "_name_or_path": "x", "num_vector_embeds": None, "update_after_step": 0}
    spec = teacher(saved(tmp_path / "m", sample_size=sample_size, **extra))
    assert "decay" not in spec.model.config
    assert "were passed to UNet2DModel, but are not expected and will be ignored" in caplog.text
    assert load_pretrained(spec).config.sample_size == 8  # type: ignore[union-attr]


def lfs_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def without_a_tensor(path: Path) -> None:
    tensors = safetensors.torch.load_file(path)
    tensors.pop("conv_in.weight")
    safetensors.torch.save_file(tensors, path)


def of_another_width(path: Path) -> None:
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({**tensors, "conv_in.weight": torch.zeros(16, 1, 3, 3)}, path)


def as_a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("blobs/123")


def as_fp16(path: Path) -> None:
    path.rename(path.with_suffix(".fp16.safetensors"))


def as_another_kind(path: Path) -> None:
    path.rename(path.with_suffix(".h5"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lfs_pointer, "is a pointer of Git LFS and not the weights: git lfs pull fetches them"),
        (cut_off, "cannot be read, it may be cut off"),
        (without_a_tensor, "lacks the weights conv_in.weight"),
        (of_another_width, r"has conv_in.weight of shape \[16, 1, 3, 3\], but the model \[8, 1, 3, 3\]"),
        (as_fp16, "has no weights, but those of variant fp16: say variant: fp16"),
        (as_another_kind, "has no weights, and others are not loaded: diffusion_pytorch_model.h5"),
        (as_a_link_to_nothing, "is a link to blobs/123, which is not there"),
        (Path.unlink, "has no weights"),
    ],
)
def test_weights_that_cannot_be_loaded_are_named(damage: Any, message: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    damage(folder / WEIGHTS)
    with pytest.raises(ValueError, match=f"teacher m: .*{message}") as refused:
        teacher(folder)
    assert "\n" not in str(refused.value)


def test_a_variant_can_be_asked_for_and_is_loaded_in_full_precision(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    safetensors.torch.save_file(halves, folder / WEIGHTS.replace(".", ".fp16."), metadata={"format": "pt"})
    spec = teacher(folder, more=",variant:fp16")
    loaded = load_pretrained(spec).state_dict()
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in halves.items())
    with pytest.raises(ValueError, match="has no weights of variant ema, but those of variant fp16"):
        teacher(folder, more=",variant:ema")
    with pytest.raises(ValueError, match=r"teachers.variant must be null or e.g. fp16 but got '../x'"):
        teacher(folder, more=",variant:../x")


def test_weights_in_shards_are_found(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    whole = teacher(folder)
    model = load_pretrained(whole)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="4KB")  # type: ignore[operator]
    assert len(list(folder.glob("*.safetensors"))) > 1
    spec = teacher(folder)
    assert torch.equal(load_pretrained(spec).conv_in.weight, model.conv_in.weight)  # type: ignore[union-attr]
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(ValueError, match=r"lacks diffusion_pytorch_model-00001-of-.*, which .*index.json names"):
        teacher(folder)


def test_attention_weights_of_old_names_are_known(tmp_path: Path) -> None:
    """google/ddpm-* call them query, key, value and proj_attn."""
    folder = saved(tmp_path / "m")
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in tensors.items():
        new = next((name.replace(f".{a}.", f".{b}.") for a, b in names.items() if f".{a}." in name), name)
        old[new] = tensor
    assert set(old) != set(tensors)
    safetensors.torch.save_file(old, folder / WEIGHTS, metadata={"format": "pt"})
    loaded = load_pretrained(teacher(folder)).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("classes", "message"),
    [(None, "num_class_embeds 10 conditions it on classes, but the data has none"), (10, "is given none here")],
)
def test_a_model_of_classes_is_named_where_it_is_given_none(classes: int | None, message: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", num_class_embeds=10)
    with pytest.raises(ValueError, match=f"teacher m: .*{message}"):
        find_pretrained("m", folder, None, DataShape(image=(1, 8, 8), num_classes=classes))


def test_a_transformer_of_classes_is_named_on_data_without() -> None:
    with pytest.raises(ValueError, match=r"teacher.tiny_dit: a .* is conditioned on classes, but the data has none"):
        study_config(compose("config", ["teachers=[tiny_dit]", "data=generated", "dry_run=true"]))

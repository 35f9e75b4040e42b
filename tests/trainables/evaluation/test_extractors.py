"""Extractors are what their name says: fixed weights, loaded without running anything, refused otherwise."""

import io
import os
import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision.transforms.functional import gaussian_blur

from trainables.data import load_data
from trainables.data.dataset import CLASSES, to_uint8
from trainables.data.digits import Digits
from trainables.data.mnist import Mnist
from trainables.evaluation.extractors import digits_cnn, inception, make_extractor, mnist_cnn
from trainables.evaluation.extractors.shipped_recipe import accuracy
from trainables.evaluation.extractors.train_digits_cnn import digits
from trainables.evaluation.extractors.train_mnist_cnn import mnist
from trainables.evaluation.fidelity import frechet_distance, image_features

SHIPPED = {
    "digits-cnn-v1": (digits_cnn.VERSION, digits, Digits()),
    "mnist-cnn-v1": (mnist_cnn.VERSION, mnist, Mnist()),
}
shipped = pytest.mark.parametrize("name", SHIPPED)


@shipped
def test_a_shipped_network_reads_digits_it_was_not_trained_on(name: str) -> None:
    version, split_of, _ = SHIPPED[name]
    data, network = split_of(), version.network()
    network.load_state_dict(version.load_weights(version.weights_path))
    assert accuracy(network, data.x_test, data.labels_test) >= 0.97


@shipped
def test_the_extractor_sees_the_images_the_study_makes(name: str) -> None:
    """Bytes of the study's own data set are read as their labels: polarity, scale and orientation agree. The scale of
    the features is that of the version.
    """
    extractor, data = make_extractor(name), load_data(SHIPPED[name][2])
    indices = torch.arange(0, len(data), 2)
    found = image_features(extractor, to_uint8(data.reference(indices)), 256)
    assert (found.logits.argmax(dim=1) == data.conditions[CLASSES][indices]).double().mean() >= 0.97
    assert found.features.var(dim=0).sum() == pytest.approx(400, rel=0.05)
    assert not extractor.training
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_a_fid_of_mnist_orders_images_by_how_good_they_are() -> None:
    """Real images, then ever more noise; blurred ones are worse than real ones."""
    extractor, draw = make_extractor("mnist-cnn-v1"), torch.Generator().manual_seed(0)
    images = load_data(Mnist()).images[torch.randperm(5000, generator=draw)[:800]]
    noise = torch.randn(400, 1, 32, 32, generator=draw)
    seen = [
        images[400:],
        *((images[400:] + strength * noise).round().clamp(0, 255).to(torch.uint8) for strength in (30, 80, 200)),
        gaussian_blur(images[400:], [7, 7], [1.0, 1.0]),
    ]
    of_reference = image_features(extractor, images[:400], 256).features
    fids = [frechet_distance(image_features(extractor, one, 256).features, of_reference) for one in seen]
    assert fids[:4] == sorted(fids[:4])
    assert fids[0] < 10 < fids[1]
    assert fids[0] < 10 < fids[4]


@shipped
def test_changed_weights_are_refused_by_name(name: str, tmp_path: Path) -> None:
    content = bytearray(SHIPPED[name][0].weights_path.read_bytes())
    content[-1] ^= 1
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(content)
    with pytest.raises(ValueError, match=rf"changed\.safetensors is not the weights of {name}: sha256"):
        make_extractor(name, weights_path=changed)


@shipped
def test_missing_shipped_weights_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"the weights of {name} are missing"):
        make_extractor(name, weights_path=tmp_path / "none.safetensors")


@shipped
def test_digits_of_another_size_are_refused(name: str) -> None:
    side = SHIPPED[name][0].side
    with pytest.raises(ValueError, match=rf"{name} reads uint8 images \(B, 3, {side}, {side}\), but got"):
        image_features(make_extractor(name), torch.zeros(4, 1, 16, 16, dtype=torch.uint8), 4)


def test_an_unknown_extractor_is_refused_with_the_known_ones() -> None:
    message = (
        r"evaluation\.feature_extractor must be one of digits-cnn-v1, mnist-cnn-v1, inception, own-v1,"
        r" torchvision/<architecture> but got 'resnet'"
    )
    with pytest.raises(ValueError, match=message):
        make_extractor("resnet")
    with pytest.raises(ValueError, match="own-v1 is trained by a study"):
        make_extractor("own-v1")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty hub folder, and a network that refuses at once."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.usefixtures("no_network")
def test_inception_without_weights_or_network_names_the_key() -> None:
    with pytest.raises(ValueError, match=r"^evaluation\.extractor_weights is null and the weights cannot be") as error:
        make_extractor("inception")
    assert "allowed: the path of torch-fidelity's Inception weights" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_download_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"<html>log in first</html>"))
    with pytest.raises(ValueError, match=r"evaluation\.extractor_weights is null and the download is not weights-"):
        make_extractor("inception")
    assert not list(tmp_path.rglob("*.pth"))


def test_missing_inception_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.extractor_weights=.*none\.pth is not a file; allowed:"):
        make_extractor("inception", weights_path=tmp_path / "none.pth")


class RunsACommand:
    """What a hostile weights file looks like: unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_weights_file_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": RunsACommand(tmp_path / "ran")}, tmp_path / "hostile.pth")
    with pytest.raises(ValueError, match=r"hostile\.pth is not a file of tensors only and was not loaded"):
        make_extractor("inception", weights_path=tmp_path / "hostile.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not weights"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"evaluation\.extractor_weights=.*broken.* is not a file of tensors only"):
        make_extractor("inception", weights_path=path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"other\.safetensors does not hold the weights of inception-v3-compat"):
        make_extractor("inception", weights_path=path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_inception_loads_given_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """Untrained weights stand in for the published ones: every tensor of the file ends up in the network."""
    with monkeypatch.context() as patch, torch.random.fork_rng():
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        blank = inception.FeatureExtractorInceptionV3("blank", ["2048"], feature_extractor_weights_path=empty)
    state = {name: tensor.clone() for name, tensor in blank.state_dict().items()}
    path = tmp_path / f"inception{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(state, path)
    extractor = make_extractor("inception", weights_path=path)
    loaded = extractor.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    features = image_features(extractor, to_uint8(Digits().load().images)[:2], 2)
    assert features.features.shape == (2, 2048)
    assert features.logits.shape == (2, 1008)

"""Our metrics are torch-fidelity's, and say nothing where there is nothing to say."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data.dataset import to_uint8
from trainables.data.digits import Digits
from trainables.evaluation.extractors import digits_cnn, make_extractor
from trainables.evaluation.extractors.shipped_cnn import ShippedCNN
from trainables.evaluation.fidelity import (
    METRICS,
    Features,
    Reference,
    compute_metrics,
    image_features,
    reference_of,
)
from trainables.evaluation.reference_file import load_reference, save_reference, sealed_tensors

EXTRACTOR = "digits-cnn-v1"
TORCH_FIDELITY_KEYS = {
    "fid": "frechet_inception_distance",
    "is_mean": "inception_score_mean",
    "kid": "kernel_inception_distance_mean",
    "precision_": "precision",
    "recall": "recall",
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features_of(images: torch.Tensor, batch_size: int = 256) -> Features:
    return image_features(make_extractor(EXTRACTOR), images, batch_size)


def as_reference(images: torch.Tensor, **settings: int) -> Reference:
    features = features_of(images).features
    return reference_of(torch.split(features, 500), len(features), **settings)


def noise_images(num_images: int) -> torch.Tensor:
    return torch.randint(0, 256, (num_images, 1, 8, 8), generator=generator(), dtype=torch.uint8)


def noised(images: torch.Tensor, std: float) -> torch.Tensor:
    noise = 255 * std * torch.randn(images.shape, generator=generator(1))
    return (images + noise).clamp(0, 255).round().to(torch.uint8)


def write_png_files(folder: Path, images: torch.Tensor) -> str:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{i:05d}.png")
    return str(folder)


@pytest.fixture(scope="module")
def real() -> torch.Tensor:
    """The 1,797 digits in a random order, uint8 (N, 1, 8, 8)."""
    images = to_uint8(Digits().load().images)
    return images[torch.randperm(len(images), generator=generator())]


@pytest.fixture(scope="module")
def reference(real: torch.Tensor) -> Reference:
    return as_reference(real)


class RegisteredCNN(ShippedCNN):
    """As torch-fidelity makes an extractor itself."""

    def __init__(self, _name: str, features_list: list[str], **_: object) -> None:
        super().__init__(digits_cnn.VERSION)
        self.features_list = features_list


def test_metrics_equal_torch_fidelity_on_the_same_image_files(
    real: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings written out: 300 against 400 images are one IS split and ceil(2 * 400 / 300) = 3 KID subsets of 300."""
    from torch_fidelity import calculate_metrics  # only after trainables, which makes torchvision importable
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, EXTRACTOR, RegisteredCNN)
    generated, held_out = noised(real[:300], 0.15), real[1000:1400]
    expected = calculate_metrics(
        input1=write_png_files(tmp_path / "generated", generated),
        input2=write_png_files(tmp_path / "reference", held_out),
        feature_extractor=EXTRACTOR,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        isc_splits=1,
        kid_subsets=3,
        kid_subset_size=300,
        batch_size=50,
        save_cpu_ram=True,
        cuda=False,
        cache=False,
        verbose=False,
    )
    computed = compute_metrics(features_of(generated, batch_size=33), as_reference(held_out))
    assert tuple(computed) == METRICS
    assert computed == pytest.approx({key: expected[name] for key, name in TORCH_FIDELITY_KEYS.items()}, rel=1e-6)
    assert 0 < computed["precision_"] < 1


def test_a_fid_grows_with_the_damage(real: torch.Tensor, reference: Reference) -> None:
    """From real images over faint noise to pure noise; two halves of the real images are far nearer than noise is."""
    halves = compute_metrics(features_of(real[:898]), as_reference(real[898:]))
    fids = [compute_metrics(features_of(noised(real[:512], std)), reference)["fid"] for std in (0.0, 0.1, 0.2, 0.4)]
    noise = compute_metrics(features_of(noise_images(512)), reference)
    assert fids == sorted(fids)
    assert max(halves["fid"], fids[0]) < noise["fid"] / 30
    assert halves["kid"] < noise["kid"] / 30
    assert halves["is_mean"] > 3 * noise["is_mean"]
    assert min(halves["precision_"], halves["recall"]) > 0.8
    assert max(noise["precision_"], noise["recall"]) < 0.2


def test_identical_sets_are_at_distance_zero(real: torch.Tensor, reference: Reference) -> None:
    metrics = compute_metrics(features_of(real), reference)
    assert metrics["fid"] == pytest.approx(0.0, abs=1e-3)
    assert metrics["precision_"] == metrics["recall"] == 1.0


@pytest.mark.parametrize("pixel", [0, 255])
def test_equal_images_give_numbers(reference: Reference, pixel: int) -> None:
    blank = features_of(torch.full((64, 1, 8, 8), pixel, dtype=torch.uint8))
    metrics = compute_metrics(blank, reference)
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["fid"] > 300
    assert metrics["is_mean"] == pytest.approx(1.0)
    assert math.isfinite(compute_metrics(blank, reference_of([blank.features], 64))["fid"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("field", ["features", "logits"])
def test_features_that_are_not_finite_give_nan(
    real: torch.Tensor, reference: Reference, field: str, value: float
) -> None:
    found = features_of(real[:99])
    tensors = {"features": found.features, "logits": found.logits}
    tensors[field][3, 2] = value
    metrics = compute_metrics(Features(**tensors), reference)
    assert all(math.isnan(number) for number in metrics.values())


def test_the_fewest_images_and_fewer(real: torch.Tensor, reference: Reference) -> None:
    assert math.isfinite(compute_metrics(features_of(real[:4]), reference)["fid"])
    with pytest.raises(ValueError, match=r"evaluation\.num_images must be at least 4 .* but got 3 images"):
        compute_metrics(features_of(real[:3]), reference)
    with pytest.raises(ValueError, match=r"evaluation\.num_images must be at least 4 .* but got 3 reference images"):
        as_reference(real[:3])


def test_features_do_not_depend_on_the_batch_size(real: torch.Tensor) -> None:
    one, other = features_of(real[:100], batch_size=7), features_of(real[:100], batch_size=64)
    torch.testing.assert_close(one.features, other.features, rtol=1e-12, atol=1e-12)
    assert one.features.shape == (100, 64)
    assert one.logits.shape == (100, 10)


def test_grey_images_are_repeated_to_three_channels(real: torch.Tensor) -> None:
    colour = features_of(real[:5].repeat(1, 3, 1, 1))
    assert torch.equal(features_of(real[:5]).features, colour.features)


@pytest.mark.parametrize("images", [torch.zeros(4, 1, 8, 8), torch.zeros(4, 2, 8, 8, dtype=torch.uint8)])
def test_anything_but_byte_images_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, 1 or 3, H, W\), but got"):
        features_of(images)


def test_metrics_are_quiet_and_leave_the_random_state_alone(
    real: torch.Tensor, reference: Reference, capfd: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    first = compute_metrics(features_of(real[:64]), reference)
    assert first == compute_metrics(features_of(real[:64]), reference)
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_a_reference_survives_a_file_and_leaves_nothing_else_behind(tmp_path: Path, reference: Reference) -> None:
    path = tmp_path / "reference" / "digits.safetensors"
    assert load_reference(path, 3) is None
    save_reference(path, reference)
    save_reference(path, reference)
    loaded = load_reference(path, 3)
    assert loaded is not None
    assert torch.equal(loaded.features, reference.features)
    assert torch.equal(loaded.radii, reference.radii)
    assert (loaded.statistics.sigma == reference.statistics.sigma).all()
    assert loaded.features.dtype == torch.float64
    assert list(path.parent.iterdir()) == [path]
    assert load_reference(path, 5) is None, "its neighbourhoods reach three neighbours"


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "digits.safetensors"
    save_reference(path, reference)
    content = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_reference(path, reference_of([reference.features[:5]], 5))
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    assert sealed_tensors(path)


def test_a_large_reference_gives_all_its_images_to_fid_and_a_fixed_part_of_them_to_the_rest(real: torch.Tensor) -> None:
    whole, part = as_reference(real), as_reference(real, most=400)
    features = features_of(real).features
    assert (part.statistics.sigma == whole.statistics.sigma).all()
    assert part.statistics.sigma == pytest.approx(np.cov(features.numpy(), rowvar=False), rel=1e-9, abs=1e-12)
    assert part.features.shape == (400, 64)
    known = {tuple(row) for row in features.tolist()}
    assert all(tuple(row) in known for row in part.features.tolist())
    again = reference_of(torch.split(features, 77), len(features), most=400)
    assert torch.equal(again.features, part.features)
    generated = features_of(noised(real[:300], 0.15))
    found, expected = compute_metrics(generated, part), compute_metrics(generated, whole)
    assert found["fid"] == expected["fid"]
    assert found["precision_"] != expected["precision_"]


def test_features_that_do_not_fit_the_memory_are_computed_in_halves(real: torch.Tensor) -> None:
    extractor, seen = make_extractor(EXTRACTOR), []
    forward = extractor.forward

    def limited(images: torch.Tensor) -> object:
        seen.append(len(images))
        if len(images) > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(images)

    extractor.forward = limited
    found = image_features(extractor, real[:100], 100)
    assert seen == [100, 50, 25, 25, 25, 25]
    torch.testing.assert_close(found.features, features_of(real[:100]).features, rtol=1e-12, atol=1e-12)

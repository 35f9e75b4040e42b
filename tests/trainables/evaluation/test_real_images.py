"""What is kept of the real images: a grid, and the FID of one half against the other."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg
from tiny import evaluation_spec

from storage import read_sealed
from trainables.data import load_data
from trainables.data.dataset import to_uint8
from trainables.data.digits import Digits
from trainables.evaluation.evaluator import Evaluator
from trainables.evaluation.real_images import half_against_half, save_grid, shown_images
from trainables.process import PIXEL


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Heusel et al. 2017, equation 6."""
    covariances = [np.cov(one, rowvar=False) for one in (first, second)]
    root = np.trace(linalg.sqrtm(covariances[0] @ covariances[1]).real)
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    return float(((first.mean(0) - second.mean(0)) ** 2).sum() + traces - 2 * root)


def test_the_same_features_have_the_same_halves() -> None:
    values = torch.randn(201, 3, generator=torch.Generator().manual_seed(1)).double()
    assert half_against_half(values) == half_against_half(values.clone())
    assert half_against_half(values) != half_against_half(values.flip(0))


def test_it_is_the_frechet_distance_of_these_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()
    monkeypatch.setattr(torch, "randperm", lambda num, generator: torch.arange(num).flip(0))
    expected = frechet(values[20:].numpy(), values[:20].numpy())
    assert half_against_half(values) == pytest.approx(expected, rel=1e-6)


def test_fewer_images_have_a_higher_fid() -> None:
    values = torch.randn(4000, 8, generator=torch.Generator().manual_seed(2)).double()
    few, many = half_against_half(values[:80]), half_against_half(values)
    assert few is not None
    assert many is not None
    assert few > 5 * many > 0


@pytest.mark.parametrize("values", [torch.ones(3, 2), torch.full((8, 2), math.nan)])
def test_there_is_none_of_too_few_images_or_of_features_that_are_not_finite(values: torch.Tensor) -> None:
    assert half_against_half(values) is None


def test_a_grid_has_eight_images_in_a_row_evenly_spaced_over_the_set(tmp_path: Path) -> None:
    digits = load_data(Digits())
    shown = shown_images(digits)
    assert shown.shape == (64, 1, 8, 8)
    assert torch.equal(shown[32:33], to_uint8(digits.reference(torch.tensor([len(digits) // 2]))))
    save_grid(tmp_path / "grid.png", shown)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (73, 73, 3)
    assert np.array_equal(pixels[1:9, 10:18, 0], shown[1, 0].numpy())
    assert np.array_equal(pixels[10:18, 1:9, 0], shown[8, 0].numpy())


def test_an_evaluator_keeps_both_beside_the_features_and_makes_what_is_missing(tmp_path: Path) -> None:
    def make() -> list[Path]:
        Evaluator(evaluation_spec(), Digits(), PIXEL, tmp_path, torch.device("cpu"))
        return sorted(tmp_path.iterdir())

    halves, picture, features = make()
    assert [path.suffix for path in (halves, picture, features)] == [".json", ".png", ".safetensors"]
    facts = read_sealed(halves.name, halves)
    assert facts["images_of_a_half"] == 898
    assert 0 < facts["half_against_half_fid"] < 20
    assert facts["data"] == Digits().identity()
    assert facts["evaluation"]["feature_extractor"] == "digits-cnn-v1"
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in make()}
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in make()}, "made once"
    picture.unlink()
    assert {path: content for path, (_, content) in before.items()} == {path: path.read_bytes() for path in make()}

"""Tiled precision and recall are torch-fidelity's, and hold a tile of the distances at a time."""

import pytest
import torch

from trainables.evaluation import extractors, neighbours  # extractors make torchvision importable
from trainables.evaluation.neighbours import neighbourhood_radii, share_within


def features(num: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return (scale * torch.randn(num, 32, generator=torch.Generator().manual_seed(seed))).relu()


@pytest.mark.parametrize("tile", [64, 257, 4096])
@pytest.mark.parametrize("neighbourhood", [3, 5])
def test_they_are_those_of_torch_fidelity(tile: int, neighbourhood: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.metric_prc import prc_features_to_metric

    assert extractors.EXTRACTORS
    generated, real = features(700, 1), features(900, 2, 1.1)
    settings = {"prc_neighborhood": neighbourhood, "save_cpu_ram": True, "verbose": False}
    expected = prc_features_to_metric(generated, real, **settings)
    monkeypatch.setattr(neighbours, "_TILE", tile)
    precision = share_within(generated, real, neighbourhood_radii(real, neighbourhood))
    recall = share_within(real, generated, neighbourhood_radii(generated, neighbourhood))
    assert (precision, recall) == pytest.approx((expected["precision"], expected["recall"]), abs=1e-6)
    assert 0.1 < precision < 0.99
    assert 0.1 < recall < 0.9


def test_no_more_than_a_tile_of_distances_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    distance = torch.cdist

    def watched(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        found = distance(first, second)
        largest = max(largest, found.numel())
        return found

    monkeypatch.setattr(torch, "cdist", watched)
    monkeypatch.setattr(neighbours, "_TILE", 50)
    values = features(180, 3)
    share_within(values, values, neighbourhood_radii(values, 3))
    assert largest == 50 * 50


def test_a_radius_is_the_distance_of_the_nth_other() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0], [15.0]])
    assert neighbourhood_radii(line, 2).tolist() == [3.0, 2.0, 3.0, 6.0, 12.0]
    assert share_within(torch.tensor([[2.0], [30.0]]), line, neighbourhood_radii(line, 2)) == 0.5

"""Precision and recall by neighbourhoods (Kynkaanniemi et al. 2019), tile by tile on the device of the models.

The distances are those of torch-fidelity (`torch.cdist`); of N x N of them one tile is held at a time, and of each row
the smallest. For 50,000 features the whole matrix has 10 GB in float32.

Shapes: N and M features, D feature dimensions, K neighbours.
"""

import torch

_TILE = 4096  # features to a side: 67 MB of distances in float32


def neighbourhood_radii(features: torch.Tensor, neighbours: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """(N,) on the CPU: how far the K-th nearest other feature is from each of features (N, D)."""
    tiles = torch.split(features, _TILE)
    nearest = [tile.new_empty((len(tile), 0), device=device) for tile in tiles]
    for first, tile in enumerate(tiles):
        rows = tile.to(device)
        for second in range(first, len(tiles)):
            distances = torch.cdist(rows, tiles[second].to(device))
            nearest[first] = _smallest(nearest[first], distances, neighbours)
            if second > first:
                nearest[second] = _smallest(nearest[second], distances.T, neighbours)
    return torch.cat([some.amax(dim=1).cpu() for some in nearest])


def share_within(
    features: torch.Tensor, centres: torch.Tensor, radii: torch.Tensor, device: torch.device | str = "cpu"
) -> float:
    """The share of features (N, D) that lie in the neighbourhood of at least one of centres (M, D) with radii (M,)."""
    num_within = 0
    for tile in torch.split(features, _TILE):
        rows = tile.to(device)
        within = torch.zeros(len(rows), dtype=torch.bool, device=device)
        for others, reach in zip(torch.split(centres, _TILE), torch.split(radii, _TILE), strict=True):
            within |= (torch.cdist(rows, others.to(device)) <= reach.to(device)).any(dim=1)
        num_within += int(within.sum())
    return num_within / len(features)


def _smallest(known: torch.Tensor, distances: torch.Tensor, neighbours: int) -> torch.Tensor:
    """The K + 1 smallest (N, K + 1) of what is known (N, up to K + 1) and of distances (N, M): the first is itself."""
    smallest = distances.topk(min(neighbours + 1, distances.shape[1]), dim=1, largest=False, sorted=False).values
    both = torch.cat([known, smallest], dim=1)
    return both.topk(min(neighbours + 1, both.shape[1]), dim=1, largest=False, sorted=False).values

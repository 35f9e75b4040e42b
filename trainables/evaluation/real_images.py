"""What is kept of the real images beside their features: a grid of them, and their FID against themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torchvision.utils import make_grid

from storage import new_file, sealed
from trainables.data import Dataset
from trainables.data.dataset import to_uint8
from trainables.evaluation.fidelity import frechet_distance
from trainables.evaluation.sealed_files import write_png
from trainables.seeds import derived_generator

NUM_SHOWN = 64  # images of a grid


def save_grid(path: Path, images: torch.Tensor) -> None:
    """Writes uint8 images (n, C, H, W) as one sealed PNG, eight in a row, whole or not at all."""
    grid = make_grid(images, nrow=8, padding=1, pad_value=0)
    write_png(path, grid.permute(1, 2, 0).contiguous().numpy())


def shown_images(images: Dataset) -> torch.Tensor:
    """uint8 (n, C, H, W): up to NUM_SHOWN of the images, evenly spaced over the set."""
    num = min(NUM_SHOWN, len(images))
    return to_uint8(images.reference(torch.arange(num) * len(images) // num))


def save_halves(path: Path, key: Mapping[str, Any], features: torch.Tensor) -> None:
    """Writes the FID between the halves of features (N, D) as sealed JSON, with the `key` that says of which data and
    evaluation.
    """
    facts = {**key, "images_of_a_half": len(features) // 2, "half_against_half_fid": half_against_half(features)}
    with new_file(path) as file:
        file.write(sealed(path.name, facts))


def half_against_half(features: torch.Tensor) -> float | None:
    """FID between two disjoint halves of the images, drawn at random with a fixed seed: how far real images are apart.

    None with fewer than four images or with features that are not finite. Like any FID it is biased upwards, the more
    the fewer images a half has.
    """
    num = len(features) // 2
    if num < 2 or not features.isfinite().all():
        return None
    order = torch.randperm(len(features), generator=derived_generator(0, "halves of the reference"))
    return frechet_distance(features[order[:num]], features[order[num : 2 * num]])

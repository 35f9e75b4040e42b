"""Data sets, and the seed streams that batches come from.

Shapes: N images, B batch, C channels, H height, W width. Images are float32 in [-1, 1].
"""

from dataclasses import dataclass
from functools import cache

import torch

from trainables.diffusion import TIMESTEPS, noise_schedule
from trainables.ranks import Ranks
from trainables.seeds import derived_generator


@cache
def digits() -> torch.Tensor:
    """The 1,797 real 8x8 digits of scikit-learn (UCI optical recognition): (1797, 1, 8, 8), greys 0..16 as [-1, 1]."""
    from sklearn.datasets import load_digits  # takes a second to import

    images = torch.from_numpy(load_digits().images).to(torch.float32)
    return (images / 8 - 1).unsqueeze(1)


DATASETS = {"digits": digits}


def image_shape(data: str) -> tuple[int, int, int]:
    """(C, H, W) of a data set. Raises ValueError for an unknown one."""
    _, channels, height, width = load_images(data).shape
    return channels, height, width


def load_images(data: str) -> torch.Tensor:
    """All images of a data set, (N, C, H, W). Raises ValueError for an unknown one."""
    if data not in DATASETS:
        raise ValueError(f"data.name must be one of {', '.join(DATASETS)} but got {data!r}")
    return DATASETS[data]()


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] to 0..255 of the same shape, rounded; what lies outside is clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


@dataclass(frozen=True)
class Batch:
    """One rank's share of a batch: noised images x_t (b, C, H, W), timesteps t (b,) and the noise (b, C, H, W)."""

    x_t: torch.Tensor
    t: torch.Tensor
    noise: torch.Tensor


class SeedStream:
    """The images, noise and timesteps of one seed: what every member of that seed sees (common random numbers).

    The batch of a step follows from (seed, step) alone, so it depends neither on what ran before nor on the number of
    ranks: every rank draws the global batch and keeps its share. Raises ValueError when it cannot be shared equally.
    """

    def __init__(self, images: torch.Tensor, *, seed: int, batch_size: int, timesteps: str, ranks: Ranks) -> None:
        if batch_size % ranks.world_size:  # shares of unequal size would not count equally in the mean over ranks
            raise ValueError(
                f"train.batch_size must be a multiple of the {ranks.world_size} workers that share it"
                f" but got {batch_size}"
            )
        self._images = images
        self._seed, self._batch_size, self._ranks = seed, batch_size, ranks
        self._timesteps = TIMESTEPS[timesteps]
        self._schedule = noise_schedule()
        self._orders: dict[int, torch.Tensor] = {}

    def batch(self, step: int) -> Batch:
        """This rank's share of the batch of a step, on the CPU."""
        noise_generator = derived_generator(self._seed, "noise", step)
        noise = torch.randn((self._batch_size, *self._images.shape[1:]), generator=noise_generator)
        t = self._timesteps(self._batch_size, derived_generator(self._seed, "timesteps", step))
        share = slice(self._ranks.rank, None, self._ranks.world_size)
        x_0, noise, t = self._images[self._indices(step)[share]], noise[share], t[share]
        return Batch(self._schedule.add_noise(x_0, noise, t), t, noise)

    def _indices(self, step: int) -> torch.Tensor:
        """Which images (B,) the step sees: the next of an endless row of permutations, one for each epoch."""
        num_images = len(self._images)
        positions = torch.arange(step * self._batch_size, (step + 1) * self._batch_size)
        epochs = positions // num_images
        wanted = range(int(epochs[0]), int(epochs[-1]) + 1)
        self._orders = {epoch: self._orders[epoch] if epoch in self._orders else self._order(epoch) for epoch in wanted}
        orders = torch.cat([self._orders[epoch] for epoch in wanted])
        return orders[positions - wanted[0] * num_images]

    def _order(self, epoch: int) -> torch.Tensor:
        return torch.randperm(len(self._images), generator=derived_generator(self._seed, "order", epoch))

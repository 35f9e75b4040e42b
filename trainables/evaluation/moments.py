"""Mean and covariance of features, added up batch by batch: FID needs no more of any number of images.

Shapes: N images, D feature dimensions.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean `mu` (D,) and covariance `sigma` (D, D), float64."""

    mu: np.ndarray
    sigma: np.ndarray

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.mu).all() and np.isfinite(self.sigma).all())


class Moments:
    """What has been added up so far, in float64 about the mean of the first batch, so that little cancels out."""

    def __init__(self) -> None:
        self.num_images = 0
        self._origin = self._sum = self._products = torch.empty(0, dtype=torch.float64)

    def add(self, features: torch.Tensor) -> None:
        """features: (N, D), on the CPU, N at least 1."""
        values = features.double()
        if not self.num_images:
            size = values.shape[1]
            self._origin = values.mean(dim=0)
            self._sum, self._products = torch.zeros_like(self._origin), values.new_zeros(size, size)
        values = values - self._origin
        self._sum += values.sum(dim=0)
        self._products.addmm_(values.T, values)
        self.num_images += len(values)

    def statistics(self) -> Statistics:
        """The unbiased covariance, as numpy.cov; two images are needed at least."""
        mean = self._sum / self.num_images
        sigma = (self._products - self.num_images * torch.outer(mean, mean)) / (self.num_images - 1)
        return Statistics((self._origin + mean).numpy(), sigma.numpy())


def statistics_of(features: torch.Tensor) -> Statistics:
    """Of features (N, D) at hand, in parts: no copy of all of them in float64 is made."""
    moments = Moments()
    for part in torch.split(features, 4096):
        moments.add(part)
    return moments.statistics()

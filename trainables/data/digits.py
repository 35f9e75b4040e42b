"""The embedded data set."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.data.dataset import CLASSES, Dataset


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The 1,797 real 8x8 digits of scikit-learn (UCI optical recognition): (1797, 1, 8, 8), greys 0..16 as [-1, 1].

    Its ten classes are there for models that take labels; the label 10 stands for none.
    """

    name: str = "digits"

    def identity(self) -> str:
        return self.name

    def load(self) -> Dataset:
        import torch
        from sklearn.datasets import load_digits  # takes a second to import

        found = load_digits()
        images = torch.from_numpy(found.images).to(torch.float32)
        return Dataset(
            images=(images / 8 - 1).unsqueeze(1),
            conditions={CLASSES: torch.from_numpy(found.target).to(torch.int64)},
            null={CLASSES: torch.tensor(10)},
            num_classes=10,
        )

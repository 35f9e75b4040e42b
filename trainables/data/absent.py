"""Data that a dry run plans with where it is not on this machine."""

from dataclasses import dataclass
from typing import Any

from trainables.data.dataset import Dataset, DataShape


@dataclass(frozen=True)
class Absent:
    """source: of images or latents, whose settings alone are known. Ids that follow from it are those of no study."""

    source: Any

    @property
    def name(self) -> str:
        return str(self.source.name)

    @property
    def is_absent(self) -> bool:
        return True

    def identity(self) -> Any:
        return {"source": "absent", "name": self.name}

    def known_shape(self) -> DataShape:
        shape: DataShape = self.source.planned_shape()
        return shape

    def load(self) -> Dataset:
        """Raises ValueError: there is nothing to load."""
        raise ValueError(f"data.path must be where the data is but {self.source.path} is not there")

    def describe(self) -> str:
        """What data it will want."""
        channels, height, width = self.known_shape().image
        there = "is not given" if self.source.path is None else f"({self.source.path}) is not there"
        return f"data {self.name}: data.path {there}; taken to be {channels}x{height}x{width}"

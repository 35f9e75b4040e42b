"""How many images go through a network at once: half as many where they do not fit the memory of the device."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class AtOnce:
    """A number of images, halved for good each time that memory runs out; a single one that does not fit raises."""

    def __init__(self, num: int) -> None:
        self.num = num

    def __call__(self, run: Callable[[int], T]) -> T:
        """run(num), begun again with half the number as often as it must be."""
        while True:
            try:
                return run(self.num)
            except torch.OutOfMemoryError:
                if self.num == 1:
                    raise
                self.num //= 2
            free_memory()

    def over(self, values: torch.Tensor, run: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """run(values) in parts of so many rows."""
        return self(lambda num: torch.cat([run(part) for part in torch.split(values, num)]))


def free_memory() -> None:
    """What did not fit is gone, but for cycles and what the allocator keeps for reuse."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

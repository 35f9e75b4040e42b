"""Batches that are drawn while the device works, so that it does not wait for them."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from trainables.data.streams import Batch, SeedStream


class Prefetched:
    """A stream's batches, the next `ahead` of them drawn by a thread; the same to the bit, for each follows from its
    step alone. (Torch gives the interpreter free while it draws.)

    num_steps: of the training; nothing is drawn past it. pin: in memory that a GPU reads by itself. What fails in the
    thread is raised by `batch`. It must be closed.
    """

    def __init__(self, stream: SeedStream, *, num_steps: int, ahead: int, pin: bool) -> None:
        self.seed, self._stream = stream.seed, stream
        self._num_steps, self._ahead, self._pin = num_steps, ahead, pin
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._drawn: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """This rank's share of the batch of a step, on the CPU."""
        for wanted in range(step, min(step + 1 + self._ahead, self._num_steps)):
            if wanted not in self._drawn:
                self._drawn[wanted] = self._thread.submit(self._draw, wanted)
        return self._drawn.pop(step).result()

    def took(self, batch: Batch, prediction: torch.Tensor, step: int) -> None:
        self._stream.took(batch, prediction, step)

    def tensors(self) -> dict[str, torch.Tensor]:
        return self._stream.tensors()

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._stream.restore(tensors)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _draw(self, step: int) -> Batch:
        batch = self._stream.batch(step)
        return batch.pinned() if self._pin else batch

"""Work on a GPU that is launched as one: a CUDA graph of what a function does with a batch, replayed for others."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from itertools import cycle
from typing import Any, Generic, TypeVar

import torch

from trainables.data.streams import Batch

Result = TypeVar("Result")
NUM_STREAMS = 4


class Graphed(Generic[Result]):
    """What a function makes of batches: it runs as it is on a CPU, and as a graph on a GPU.

    The graph is captured at the first call, and again where the shapes change or after `forget`. The function must
    work on the device alone and read nothing but the batch and tensors that stay where they are. What it returns is
    overwritten by the next call. What cannot be captured runs as it is, with a warning. (The function is not kept: a
    cycle with its owner would hold the memory of a GPU.)
    """

    def __init__(self, *, off: bool = False) -> None:
        self._off = off
        self._static: Batch | None = None
        self._graph: Any = None
        self._result: Result

    def __call__(self, function: Callable[[Batch], Result], batch: Batch) -> Result:
        if self._off or batch.x_t.device.type != "cuda":
            return function(batch)
        if self._graph is None or self._static is None or _shapes(self._static) != _shapes(batch):
            self._capture(function, batch)
        if self._graph is None or self._static is None:  # it could not be
            return function(batch)
        for name, tensor in _tensors(self._static).items():
            tensor.copy_(_tensors(batch)[name])
        self._graph.replay()
        return self._result

    def forget(self) -> None:
        """The next call captures again, for the function will do something else."""
        self._graph = None

    def _capture(self, function: Callable[[Batch], Result], batch: Batch) -> None:
        self._graph, self._static = None, batch.mapped(torch.clone)
        side = torch.cuda.Stream(batch.x_t.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries choose their kernels and take their memory
            function(self._static)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        try:
            # Of this thread alone: another one draws batches, and takes pinned memory for them.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._result = function(self._static)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # a model that waits for the device on its way
            warnings.warn(f"it runs without a CUDA graph, which cannot be captured: {error}", stacklevel=2)
            self._off = True
            return
        self._graph = graph


def _tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """By name of the field; of the condition by its own names."""
    found: dict[str, torch.Tensor] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Mapping):
            found |= {f"{field.name}.{name}": tensor for name, tensor in value.items()}
        elif value is not None:
            found[field.name] = value
    return found


def _shapes(batch: Batch) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in _tensors(batch).items()}


@contextmanager
def beside_each_other(device: torch.device) -> Iterator[Callable[[], AbstractContextManager[Any]]]:
    """Inside, what is done under the contexts that the callable gives may run at once on a GPU, four of them."""
    if device.type != "cuda":
        yield nullcontext
        return
    here = torch.cuda.current_stream(device)
    streams = [torch.cuda.Stream(device) for _ in range(NUM_STREAMS)]  # type: ignore[no-untyped-call]
    for stream in streams:
        stream.wait_stream(here)
    turns = cycle(streams)
    yield lambda: torch.cuda.stream(next(turns))
    for stream in streams:
        here.wait_stream(stream)

"""What a model's passes keep in memory, counted on torch's meta device: nothing is computed."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from trainables.data import DataShape
from trainables.evaluation.micro_batches import micro_batch_size
from trainables.families import predict
from trainables.models import build_model, example_inputs
from trainables.specs import StudentSpec

_META = "meta"


def saved_bytes(spec: StudentSpec, shape: DataShape, batch_size: int) -> int:
    """What a forward pass over a batch keeps for the backward pass, in float32.

    Activations that are checkpointed count as if they were not.
    """
    model = build_model(spec, shape, seed=0, device=_META)
    parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}  # saved as views, too
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), _AttentionInTiles():
        output = predict(model, *example_inputs(shape, batch_size, torch.device(_META), torch.float32))
        del output
    return sum(saved.values())


def sampling_bytes(spec: StudentSpec, shape: DataShape) -> int:
    """The most that is there at once while the model answers to a micro-batch of the sampler, its weights included."""
    model = build_model(spec, shape, seed=0, device=_META).eval()
    inputs = example_inputs(shape, micro_batch_size(shape.image), torch.device(_META), torch.float32)
    live = _Live()
    for parameter in model.parameters():
        live.see(parameter)
    with torch.no_grad(), _AttentionInTiles(), live:
        predict(model, *inputs)
    return live.peak


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that were seen or made inside and are still there, and the most that there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return tree_map_only(torch.Tensor, self.see, func(*args, **(kwargs or {})))

    def see(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)
        return tensor

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class _AttentionInTiles(TorchFunctionMode):
    """Attention as devices compute it: without the matrix of all pairs, which torch would make on meta."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """(B, heads, N, d) on meta; a mask is small beside them."""
    found = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, torch.is_grad_enabled())
    return found[0]  # type: ignore[no-any-return]

"""Models of one architecture with weights of their own, run as one (torch.func.vmap).

One kernel for all members where torch's vmap would take many, or copies, or has no rule:

vmap turns a convolution whose weights differ by member into a grouped one over (B, M*C, H, W) by itself; the norm and
the attention after it are made to take that layout as it is.
Shapes: M members, B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Positions (B*H*W) of all members that run as one model. Larger activations fill a GPU by themselves: there grouped
# convolutions were slower than a member's own (study/README.md, What it costs), and took the memory of all.
_POSITIONS = 2**18


def members_at_once(x_t: torch.Tensor) -> int:
    """How many members run as one model on inputs x_t (B, C, H, W)."""
    return max(1, _POSITIONS // x_t[:, 0].numel())


class StackedKernels(TorchFunctionMode):
    """Inside, and inside of vmap, group norms and attentions of members are one kernel."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.group_norm:
            return _group_norm(*args, **kwargs)
        if func is functional.scaled_dot_product_attention and kwargs.get("attn_mask") is None:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _group_norm(
    x: torch.Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> torch.Tensor:
    if weight is None or bias is None:
        return functional.group_norm(x, num_groups, weight, bias, eps)
    return _GroupNorm.apply(x, weight, bias, num_groups, eps)  # type: ignore[no-untyped-call,no-any-return]


def _attention(*args: Any, **kwargs: Any) -> torch.Tensor:
    return _Attention.apply(*args[:3], kwargs)  # type: ignore[no-untyped-call,no-any-return]


class _Kernel(torch.autograd.Function):
    """A function of which only the rule for members is its own: that calls torch's, which knows its gradient."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise AssertionError("outside of vmap torch's own function is called")


class _GroupNorm(_Kernel):
    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, num_groups: int, eps: float) -> torch.Tensor:
        return functional.group_norm(x, num_groups, weight, bias, eps)

    @staticmethod
    def vmap(  # noqa: PLR0917 (torch passes arguments by position)
        info: Any, in_dims: Any, x: Any, weight: Any, bias: Any, num_groups: int, eps: float
    ) -> Any:
        """Norm of (B, M*C, ...) in M times as many groups."""
        num = info.batch_size
        x = _with_members(x, in_dims[0], num, 1).flatten(1, 2)
        weight, bias = (
            _with_members(one, dim, num, 0).flatten() for one, dim in zip((weight, bias), in_dims[1:3], strict=True)
        )
        normed: Any = functional.group_norm(x, num * num_groups, weight, bias, eps)
        return normed.unflatten(1, (num, -1)), 1


class _Attention(_Kernel):
    @staticmethod
    def forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, settings: Any) -> torch.Tensor:
        return functional.scaled_dot_product_attention(query, key, value, **settings)

    @staticmethod
    def vmap(  # noqa: PLR0917
        info: Any, in_dims: Any, query: Any, key: Any, value: Any, settings: Any
    ) -> Any:
        """Members are more of a batch: (M*B, heads, N, D)."""
        num = info.batch_size
        parts = zip((query, key, value), in_dims[:3], strict=True)
        folded: Any = [_with_members(one, dim, num, 0).flatten(0, 1) for one, dim in parts]
        found: Any = functional.scaled_dot_product_attention(*folded, **settings)
        return found.unflatten(0, (num, -1)), 0


def _with_members(x: torch.Tensor, dim: int | None, num: int, to: int) -> torch.Tensor:
    """x with the dimension of members at `to`; what all share is repeated."""
    return x.unsqueeze(to).expand(*x.shape[:to], num, *x.shape[to:]) if dim is None else x.movedim(dim, to)

"""The data-parallel group that a pack runs in; without one, a group of one."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """This process' place in the group. With world_size 1 nothing is ever communicated."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def current(cls) -> "Ranks":
        if not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all ranks; the local values are kept unchanged."""
        if self.world_size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world_size

    def gather(self, share: torch.Tensor) -> torch.Tensor:
        """The whole batch (B, ...) of which this rank has every world_size-th entry (b, ...), from its rank on."""
        if self.world_size == 1:
            return share
        shares = [torch.empty_like(share) for _ in range(self.world_size)]
        dist.all_gather(shares, share.contiguous())
        return torch.stack(shares, dim=1).flatten(0, 1)

    def from_first(self, value: int, device: torch.device) -> int:
        """Rank 0's value, on every rank."""
        if self.world_size == 1:
            return value
        shared = torch.tensor(value, device=device)
        dist.broadcast(shared, src=0)
        return int(shared)

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world_size > 1:
            dist.barrier()

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over all ranks."""
        return module if self.world_size == 1 else DistributedDataParallel(module)

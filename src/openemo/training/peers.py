"""Data parallel training: the processes that train together, under `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

# Before any group exists: functions of this module take the group of that moment as a default argument.
# The optimizer imports it too, later; a group held so outlives its end, and its threads now and then abort
# the process as it exits.
import torch.distributed.nn
from torch import Tensor, nn

__all__ = ["Peers", "joined_peers"]


@dataclass(frozen=True)
class Peers:
    """`rank` of `count` processes; alone, nothing is exchanged."""

    rank: int = 0
    count: int = 1

    @classmethod
    def present(cls) -> Peers:
        """Those of the process group, if there is one."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def meet(self) -> None:
        """Waits until all have come so far."""
        if self.count > 1:
            dist.barrier()

    def mean(self, value: Tensor) -> Tensor:
        """Over all processes; not finite on one is not finite on all."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value / self.count

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """In place, in one exchange. A parameter that this process did not use counts with a zero."""
        if self.count == 1:
            return
        trained = list(parameters)
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        parts = flat.split([gradient.numel() for gradient in gradients])  # type: ignore[no-untyped-call]
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def joined_peers(meeting: str = "env://") -> Iterator[None]:
    """Within it, the process group that `torchrun` describes in the environment; without `torchrun`, nothing.

    Args:
        meeting: URL where the processes find each other; `env://` is `torchrun`'s address.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, meeting, rank=int(os.environ["RANK"]), world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()

"""Data parallel training: the processes that train together, under `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Peers", "join_peers"]


@dataclass(frozen=True)
class Peers:
    """`rank` of `count` processes; alone, nothing is exchanged."""

    rank: int = 0
    count: int = 1

    @classmethod
    def present(cls) -> Peers:
        """Those of the process group, if there is one."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

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


def join_peers() -> None:
    """Makes the process group that `torchrun` describes in the environment; without it, nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")

"""Data parallel training: the processes that train together, under `torchrun`, by accelerate.

DistributedDataParallel is not used: it averages only the gradients of calls of a network's `forward`, and the
autoencoder stage calls parts of its network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

# Imported before any process group exists: its functions keep the group of that moment as a default argument.
# The optimizer imports it later, and a group that is kept so outlives its end: its threads sometimes abort
# the process at exit.
import torch.distributed.nn
from accelerate import PartialState
from accelerate.utils import reduce
from torch import nn

__all__ = ["average_gradients", "joined_processes"]


@contextmanager
def joined_processes(*, on_cpu: bool, **rendezvous: str) -> Iterator[None]:
    """Within it, `PartialState()` is what `torchrun` describes in the environment; without it, one process.

    Args:
        rendezvous: `init_method`, if the processes do not find each other at `torchrun`'s address.
    """
    state = PartialState(cpu=on_cpu, **rendezvous)
    try:
        yield
    finally:
        state.destroy_process_group()
        PartialState._reset_state()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """In place, in one exchange. A parameter without a gradient in this process counts as zero."""
    if PartialState().num_processes == 1:
        return
    trained = list(parameters)
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    mean = reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, part in zip(gradients, mean.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))

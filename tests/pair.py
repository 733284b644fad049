"""Two processes that train together, as `torchrun` starts them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from openemo.training.processes import joined_processes

__all__ = ["joined"]


@contextmanager
def joined(rank: int, folder: Path) -> Iterator[None]:
    """As one of two processes that `torchrun` started.

    Nothing may hold their group afterwards: its threads could abort the process at exit.
    """
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    try:
        with joined_processes(on_cpu=True, init_method=f"file://{folder / 'rendezvous'}"):
            group = weakref.ref(dist.group.WORLD)
            yield
    finally:
        assert group() is None

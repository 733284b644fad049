"""Two processes that train together, as `torchrun` starts them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from openemo.training.peers import joined_peers

__all__ = ["joined"]


@contextmanager
def joined(rank: int, folder: Path) -> Iterator[None]:
    """As one of two that `torchrun` started. Nothing may hold their group afterwards: its threads could abort
    the process as it exits."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    try:
        with joined_peers(f"file://{folder / 'meet'}"):
            group = weakref.ref(dist.group.WORLD)
            yield
    finally:
        assert group() is None

"""Networks that an earlier stage exported."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import nn

from openemo.checkpoints.components import load_network, move
from openemo.errors import TrainingError

__all__ = ["load_export"]

Network = TypeVar("Network", bound=nn.Module)


def load_export(kind: type[Network], folder: Path) -> Network:
    """Loads strictly, as float32: all training is in float32, and checkpoints are float16.

    Raises:
        TrainingError: nothing was exported. CheckpointError: it does not fit.
    """
    if not (folder / "config.json").is_file():
        raise TrainingError(f"no trained network in {folder}", fix="Run the stage before this one first")
    return cast(Network, move(load_network(kind, folder), None, torch.float32))

"""Networks that an earlier stage exported."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar, cast

from torch import nn

from openemo.checkpoints.components import load_network
from openemo.errors import TrainingError

__all__ = ["load_export"]

Network = TypeVar("Network", bound=nn.Module)


def load_export(kind: type[Network], folder: Path) -> Network:
    """Strictly. Raises TrainingError where nothing was exported, CheckpointError where it does not fit."""
    if not (folder / "config.json").is_file():
        raise TrainingError(f"no trained network in {folder}", fix="Run the stage that comes before this one")
    return cast(Network, load_network(kind, folder))

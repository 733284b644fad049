"""Weights of the networks that only measuring needs: one folder each, with licence note and SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from openemo.checkpoints.folder import verify_hashes
from openemo.errors import CheckpointError
from openemo.weight_files import map_weights

__all__ = ["FILE_NAME", "load_weights", "shipped"]

FILE_NAME = "model.safetensors"


def shipped(name: str) -> Path:
    """The folder of a network that ships with the package."""
    return Path(__file__).parent / name


def load_weights(network: torch.nn.Module, folder: Path) -> Any:
    """Load `folder`/model.safetensors into `network`, as float32, and set it to evaluation.

    Raises:
        CheckpointError: a file is missing, was changed, or does not fit the network exactly.
    """
    verify_hashes(folder)
    weights = map_weights(folder / FILE_NAME, fix="Install again")
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the weights in {folder} do not fit {type(network).__name__}", got=reason, fix="Install again"
        ) from error
    return network.eval().requires_grad_(False)

"""A network from a file of weights, strictly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from openemo.errors import CheckpointError

__all__ = ["load_network_weights", "load_weights"]

Network = TypeVar("Network", bound=nn.Module)


def load_weights(path: Path, *, fix: str | None = None) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, on the CPU in the file's dtype. Raises CheckpointError."""
    try:
        # Copied: tensors in the file's memory start at any address. On some processors the address decides
        # the order of a sum, and with it the last bit.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read", got=error, fix=fix) from error


def load_network_weights(
    make_network: Callable[[], Network], path: Path, *, fix: str | None = None
) -> Network:
    """The network that `make_network` makes, with exactly the weights of a .safetensors file.

    The network is made on the meta device. So it costs no time for random values, and the global random state
    stays as it is.

    Raises:
        CheckpointError: the file is missing or damaged, or its names and shapes are not the network's.
    """
    weights = load_weights(path, fix=fix)
    with torch.device("meta"):
        network = make_network()
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the weights in {path.parent} do not fit config.json", got=reason, fix=fix
        ) from error
    return network

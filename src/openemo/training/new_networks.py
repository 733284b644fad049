"""Networks with random weights, from the arguments in a recipe."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import torch
from torch import nn

from openemo.errors import CheckpointError, ConfigError
from openemo.network_settings import check_arguments
from openemo.weight_files import made_on_meta

__all__ = ["new_network"]

Network = TypeVar("Network", bound=nn.Module)
_MOST_TENSORS: Final = 5000
_MOST_WEIGHTS: Final = 10**10  # 40 GB


def new_network(cls: type[Network], arguments: dict[str, Any], seed: int) -> Network:
    """Raises ConfigError for arguments that make no network, or an absurdly large one."""
    try:
        check_arguments(cls, arguments, "`model` of the recipe")
        size = made_on_meta(
            lambda: cls(**arguments),
            f"`model` of the recipe makes no {cls.__name__}",
            num_tensors=_MOST_TENSORS,
        )
    except CheckpointError as error:
        raise ConfigError(error.what, got=error.got, expected=error.expected, fix=error.fix) from error
    num_weights = sum(parameter.numel() for parameter in size.parameters())
    if num_weights > _MOST_WEIGHTS:
        raise ConfigError(
            "`model` of the recipe makes an absurdly large network", got=f"{num_weights} weights"
        )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return cls(**arguments)

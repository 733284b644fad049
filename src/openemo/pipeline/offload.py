"""Networks that rest in the computer's memory and come to the device when they are called.

"model": one whole network is on the device at a time. "sequential": of backbone and ReferenceNet one layer at
a time (accelerate does it), which needs little device memory and is slow; the smaller networks as in "model".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import nn

from openemo.errors import ConfigError

__all__ = ["Offload", "OffloadKind"]

OffloadKind = Literal["none", "model", "sequential"]
_REST = torch.device("cpu")


class Offload:
    """Moves networks; its hooks stay on them for good.

    The hooks are on the layers, not on the networks: `encode_audio`, `encode_locator`, `encode_identity` and
    all methods of the autoencoders call layers, and no `forward` of the network itself.

    Args:
        kind: "model" or "sequential".
        device: where they compute.
        large: networks that go layer by layer with "sequential".
        small: networks that always go whole.

    Raises:
        ConfigError: unknown kind, or accelerate is not installed.
    """

    def __init__(
        self,
        kind: OffloadKind,
        device: torch.device | str,
        *,
        large: Sequence[nn.Module],
        small: Sequence[nn.Module],
    ) -> None:
        if kind not in get_args(OffloadKind)[1:]:
            raise ConfigError("unknown kind of offload", got=kind, expected="model or sequential")
        self.kind = kind
        self.device = torch.device(device)
        self.resident: nn.Module | None = None
        """The one network that is on the device as a whole."""
        whole = [*small, *(large if kind == "model" else ())]
        for network in whole:
            _move(network, _REST)
            for layer in network.modules():
                layer.register_forward_pre_hook(partial(self._before, network))
        if kind == "sequential":
            for network in large:
                _by_layers(network, self.device)

    def bring(self, network: nn.Module) -> None:
        """Have a network on the device, and no other; one that goes by layers is never brought."""
        if self.resident is network:
            return
        if self.resident is not None:
            _move(self.resident, _REST)
        _move(network, self.device)
        self.resident = network

    def _before(self, network: nn.Module, *_: Any) -> None:
        self.bring(network)


def _move(network: nn.Module, device: torch.device) -> None:
    network.to(device)


def _by_layers(network: nn.Module, device: torch.device) -> None:
    try:
        from accelerate import cpu_offload
    except ImportError as error:
        raise ConfigError(
            "sequential offload needs accelerate",
            got="it is not installed",
            fix="pip install 'openemo[offload]'",
        ) from error
    _move(network, _REST)
    # Buffers stay on the device: the temporal blocks read the position tables of their attentions themselves.
    cpu_offload(network, device, offload_buffers=False)

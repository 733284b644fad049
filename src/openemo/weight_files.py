"""A network from a file of weights, strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from openemo.errors import CheckpointError

__all__ = ["load_network_weights", "load_weights", "made_on_meta", "map_weights"]

Network = TypeVar("Network", bound=nn.Module)
_SPARE_TENSORS: Final = 64  # layers that a network may make and drop


def map_weights(path: Path, *, fix: str | None = None) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, in its memory: nothing is copied.

    Raises:
        CheckpointError: it is no ordinary file, or damaged.
    """
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} cannot be read", got="no ordinary file", fix=fix)
    try:
        return load_file(path)
    # Not only SafetensorError: a type of numbers that this version of torch lacks is an AttributeError.
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read", got=error, fix=fix) from error


def load_weights(path: Path, *, fix: str | None = None) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, on the CPU in the file's dtype. Raises CheckpointError."""
    return _copied(map_weights(path, fix=fix))


def load_network_weights(
    make_network: Callable[[], Network], path: Path, *, fix: str | None = None
) -> Network:
    """The network that `make_network` makes, with exactly the weights of a .safetensors file.

    No weight is read before names and shapes are known to be those of the network.

    Raises:
        CheckpointError: the file is missing or damaged, the settings make no network, or names and shapes of
            the weights are not the network's.
    """
    weights = map_weights(path, fix=fix)
    what = f"the weights in {path.parent} do not fit config.json"
    network = made_on_meta(make_network, what, num_tensors=len(weights), fix=fix)
    own = network.state_dict()
    is_whole = {name: tensor.shape for name, tensor in own.items()} == {
        name: tensor.shape for name, tensor in weights.items()
    }
    for name, tensor in weights.items() if is_whole else ():
        if own[name].is_floating_point() and not tensor.is_floating_point():
            raise CheckpointError(what, got=f"{name} of {tensor.dtype}", expected="real numbers", fix=fix)
    try:
        # What does not fit is not copied: this only finds the words for it.
        network.load_state_dict(_copied(weights) if is_whole else weights, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(what, got=reason, fix=fix) from error
    return network


def made_on_meta(
    make_network: Callable[[], Network], what: str, *, num_tensors: int, fix: str | None = None
) -> Network:
    """The network that `make_network` makes, on the meta device: of any size at once, and without memory.

    So it costs no time for random values, and the global random state stays as it is.

    Args:
        what: is wrong if there is an error.
        num_tensors: that its weights have. A network of many more layers is not built to its end.

    Raises:
        CheckpointError: the settings make no network, or one of far more tensors.
    """
    try:
        with torch.device("meta"), _AtMost(2 * num_tensors + _SPARE_TENSORS):
            return make_network()
    except Exception as error:  # constructors of libraries raise anything for settings that do not fit
        reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
        raise CheckpointError(what, got=" ".join(reason.split())[:300], fix=fix) from error


class _AtMost(TorchFunctionMode):
    """Stops the construction of a network at a number of tensors. Every layer makes its own with `empty`.

    Initialisers do nothing.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._made = most, 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function is torch.empty:
            self._made += 1
            if self._made > self._most:
                raise CheckpointError("the network has far more layers than the weights")
        # There is nothing to fill, and some of torch's initialisers would import its compiler for it.
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return function(*args, **(kwargs or {}))


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Tensors in the file's memory start at any address. On some processors the address decides the order of
    # a sum, and with it the last bit.
    return {name: tensor.clone() for name, tensor in weights.items()}

"""Networks that an earlier stage exported."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar, cast

import torch

from openemo.checkpoints.components import load_network, move
from openemo.errors import TrainingError
from openemo.models.network import Network

__all__ = ["load_export", "load_widened"]

_GUIDE: Final = "expression_guide_in."
_MOTION_CONDITIONS: Final = "motion_condition_encoder.linear_1.weight"

NetworkT = TypeVar("NetworkT", bound=Network)


def load_widened(network: NetworkT, folder: Path) -> NetworkT:
    """Fills a network with the weights of an exported one that has fewer channels; what it lacks is zero.

    New channels lie behind the old ones. Of motion conditions the first ones stay, others are left out. The
    layer of the expression guide may be new: it starts at zero.

    Raises:
        TrainingError: nothing was exported, or the networks differ in more than that.
    """
    old, state = load_export(type(network), folder).state_dict(), network.state_dict()
    for name, tensor in state.items():
        if name not in old and name.startswith(_GUIDE):
            continue
        if name == _MOTION_CONDITIONS and name in old:
            old[name] = old[name][:, : tensor.shape[1]]
        if name not in old or any(a > b for a, b in zip(old[name].shape, tensor.shape, strict=True)):
            raise TrainingError(f"{name} in {folder} does not fit the wider network")
        tensor.zero_()
        tensor[tuple(slice(length) for length in old[name].shape)] = old[name]
    network.load_state_dict(state)
    return network


def load_export(kind: type[NetworkT], folder: Path) -> NetworkT:
    """Loads strictly, as float32: all training is in float32, and checkpoints are float16.

    Raises:
        TrainingError: nothing was exported. CheckpointError: it does not fit.
    """
    if not (folder / "config.json").is_file():
        raise TrainingError(f"no trained network in {folder}", fix="Run the stage before this one first")
    return cast(NetworkT, move(load_network(kind, folder), None, torch.float32))

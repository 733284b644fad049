"""Speech networks of transformers on disk: config.json and model.safetensors, strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from openemo.errors import CheckpointError

__all__ = ["load_speech_network", "save_speech_network"]


def load_speech_network(network_class: Any, config_class: Any, folder: Path) -> Any:
    """A network on the CPU, in the dtype of its file.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights don't fit the config.
    """
    try:
        config = config_class(**json.loads((folder / "config.json").read_text()))
        # Copied, as in `checkpoints.components.load_network`.
        weights = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"the speech encoder in {folder} cannot be read", got=error) from error
    with torch.device("meta"):
        network = network_class(config)
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {folder} don't fit config.json", got=error) from error
    return network


def save_speech_network(network: Any, folder: Path) -> None:
    """Writes config.json and model.safetensors (in the present dtype) for `load_speech_network`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = network.config.to_diff_dict()
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

"""Speech networks of transformers on disk: config.json and model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from openemo.errors import CheckpointError
from openemo.files import read_json
from openemo.weight_files import load_network_weights

__all__ = ["load_speech_network", "save_speech_network"]

WEIGHTS_NAME = "model.safetensors"


def load_speech_network(network_class: Any, config_class: Any, folder: Path) -> Any:
    """A network on the CPU, in the dtype of its file.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights do not fit the config.
    """
    values = read_json(folder / "config.json")
    try:
        config = config_class(**values)
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'} is wrong", got=error) from error
    return load_network_weights(lambda: network_class(config), folder / WEIGHTS_NAME)


def save_speech_network(network: Any, folder: Path) -> None:
    """Writes config.json and model.safetensors (in the present dtype) for `load_speech_network`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = network.config.to_diff_dict()
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})

"""Renames the contents of checkpoints and exports of earlier development versions.

Only names change: every tensor keeps its values and dtype.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from openemo.checkpoints.folder import HASHES_NAME, INDEX_NAME, verify_hashes, write_hashes
from openemo.checkpoints.parts import SOURCE_NAME
from openemo.errors import CheckpointError
from openemo.files import fresh_folder, read_json
from openemo.weight_files import load_weights

__all__ = ["upgrade"]

_CLASSES = {"SpeechEncoder": "WhisperEncoder"}
_PIPELINE_KEYS = {"num_steps": "num_inference_steps"}
_PIPELINE_VALUES = {"guidance_over": {"sound": "audio"}}
# Settings of networks: old name -> new name, and old value -> new value.
_NETWORK_KEYS = {"num_gestures": "num_motion_conditions"}
_NETWORK_VALUES = {"reference_norm": {"map": "group", "place": "layer"}}
_TENSORS = {"gesture_encoder.": "motion_condition_encoder.", "place_gain.": "locator_scale."}


def upgrade(source: Path, output: Path) -> None:
    """Writes `source`, a checkpoint or the export of a training stage, to `output` under today's names.

    Args:
        output: a folder that does not exist, or is empty. An error leaves nothing in it.

    Raises:
        CheckpointError: `source` has no networks, or is damaged. OutputError: `output` cannot be written.
    """
    if not any(source.rglob("config.json")):
        raise CheckpointError(
            "no networks to upgrade", got=f"no config.json in {source}", fix="Check the path"
        )
    has_hashes = (source / HASHES_NAME).is_file()
    if has_hashes:
        verify_hashes(source)
    for path in source.rglob("*.json"):
        if path.name in _REWRITES:
            read_json(path, infinity=True)  # before gigabytes are copied
    with fresh_folder(output) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        for path in folder.rglob("*"):
            rewrite = _REWRITES.get(path.name, _rewrite_tensors if path.suffix == ".safetensors" else None)
            if rewrite is not None:
                rewrite(path)
        if has_hashes:
            write_hashes(folder)


def _rewrite_index(path: Path) -> None:
    index = read_json(path)
    index["components"] = _components(index, path)
    index["pipeline"] = _renamed(_part(index, "pipeline", path), _PIPELINE_KEYS, _PIPELINE_VALUES)
    path.write_text(json.dumps(index, indent=2) + "\n")


def _rewrite_source(path: Path) -> None:
    record = read_json(path)
    record["components"] = _components(record, path)
    path.write_text(json.dumps(record, indent=1) + "\n")


def _components(values: dict[str, Any], path: Path) -> dict[str, Any]:
    return {name: _CLASSES.get(str(kind), kind) for name, kind in _part(values, "components", path).items()}


def _part(values: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """Raises CheckpointError where this part is no object."""
    part = values.get(name)
    if not isinstance(part, dict):
        raise CheckpointError(f"{path} is damaged at `{name}`", expected="a JSON object")
    return part


def _rewrite_config(path: Path) -> None:
    """The settings of a network, in the layout of diffusers."""
    settings = read_json(path)
    renamed = _renamed(settings, _NETWORK_KEYS, _NETWORK_VALUES)
    if renamed != settings:
        path.write_text(json.dumps(renamed, indent=2, sort_keys=True) + "\n")


def _rewrite_tensors(path: Path) -> None:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            if not any(name.startswith(tuple(_TENSORS)) for name in file.keys()):  # noqa: SIM118
                return
        tensors = {_tensor_name(name): tensor for name, tensor in load_weights(path).items()}
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read", got=error) from error


def _tensor_name(name: str) -> str:
    for old, new in _TENSORS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _renamed(
    values: dict[str, Any], keys: dict[str, str], meanings: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """The settings under their new names and with their new values, in the same order."""
    return {keys.get(key, key): meanings.get(key, {}).get(str(value), value) for key, value in values.items()}


_REWRITES: dict[str, Callable[[Path], None]] = {
    INDEX_NAME: _rewrite_index,
    SOURCE_NAME: _rewrite_source,
    "config.json": _rewrite_config,
}
